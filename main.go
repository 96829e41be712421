// Sonde finds out what a network really does between here and there: it scans, talks, answers and measures.
package main

import (
	"os"

	"sonde/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
