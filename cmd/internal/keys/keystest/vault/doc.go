// Package vault tests the server's signers against the Transit engine of HashiCorp Vault. It is a module of its own:
// Vault is large, and its licence is not ours; nothing of it enters the product.
package vault
