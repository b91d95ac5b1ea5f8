package keys

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxPassphrase is the longest passphrase, in octets.
const maxPassphrase = 1024

// ReadPassphrase reads a passphrase or PIN from where source says: a file of mode 0600, env:NAME for a variable of the
// environment, or fd:N for an inherited file descriptor, which is read to its end once. The text is one line; a final
// line feed does not count. A passphrase is never an argument of a command, where every process can read it.
func ReadPassphrase(source string) ([]byte, error) {
	text, err := readSecret(source)
	if err != nil {
		return nil, fmt.Errorf("keys: passphrase: %w", err)
	}
	text = strings.TrimSuffix(text, "\n")
	if text == "" || len(text) > maxPassphrase || strings.ContainsAny(text, "\r\n\x00") {
		return nil, fmt.Errorf("keys: passphrase: want one line of 1 to %d octets", maxPassphrase)
	}
	return []byte(text), nil
}

func readSecret(source string) (string, error) {
	if name, ok := strings.CutPrefix(source, "env:"); ok {
		text, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("the environment has no %s", name)
		}
		return text, nil
	}
	if digits, ok := strings.CutPrefix(source, "fd:"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n < 3 || strconv.FormatUint(n, 10) != digits {
			return "", fmt.Errorf("want fd:N with N from 3")
		}
		f := os.NewFile(uintptr(n), "passphrase")
		if f == nil {
			return "", fmt.Errorf("descriptor %d is not open", n)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxPassphrase+2))
		return string(data), err
	}
	path, err := filePath(strings.TrimPrefix(source, "file:"))
	if err != nil {
		return "", err
	}
	data, err := readPrivate(path)
	return string(data), err
}
