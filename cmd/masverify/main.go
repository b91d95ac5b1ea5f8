// Command masverify checks evidence of a Mission Authority Service offline: no network, no server, no secret. It
// reads files (or standard input, "-") and a trust document, and says what was verified, what is wrong, what could
// not be checked, and what is not claimed.
//
// Exit codes: 0 all that was asked was checked and holds; 1 something is wrong; 2 something could not be checked;
// 3 usage.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
