// Package oracle has implementations that are not ours check a whole log over HTTP: Tessera's fsck, the tile reader and
// the proofs of x/mod/sumdb/tlog, and a COSE library in another language. It is a module of its own so that what they
// bring along stays out of the product.
package oracle
