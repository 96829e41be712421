// Command gen writes sonde's manual pages: one for each command, from the command's own
// words and flags and from what sections.go adds to them.
//
//	go generate ./docs/...
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sonde/internal/cli"
)

//go:generate go run . ../man

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen DIRECTORY")
		os.Exit(2)
	}
	for name, page := range pages(cli.Commands()) {
		if err := os.WriteFile(filepath.Join(os.Args[1], name), page, 0o644); err != nil {
			fmt.Fprintf(os.Stderr, "gen: %v\n", err)
			os.Exit(1)
		}
	}
}

// pages returns the manual page of cmd and of every command below it, by file name.
func pages(cmd *cobra.Command) map[string][]byte {
	all := map[string][]byte{pageName(cmd) + ".1": page(cmd)}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		for name, text := range pages(sub) {
			all[name] = text
		}
	}
	return all
}

// pageName is a command's path in one word: sonde-scan.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page writes one manual page. The order of its sections is that of man-pages(7).
func page(cmd *cobra.Command) []byte {
	var out bytes.Buffer
	p := &roff{&out}
	p.macro("TH", strings.ToUpper(pageName(cmd)), "1", "", "sonde", "sonde manual")
	p.line(".nh") // command lines are not to be broken, nor stretched
	p.line(".ad l")
	p.section("NAME")
	p.line(escape(pageName(cmd)) + ` \- ` + escape(cmd.Short))
	p.synopsis(cmd)
	p.section("DESCRIPTION")
	p.prose(description(cmd))
	p.commands(cmd)
	p.options(cmd)
	for _, s := range sections[cmd.Name()] {
		p.section(s.title)
		p.prose(s.prose)
		p.entries(s.entries)
	}
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(cmd.Example)
	}
	p.seeAlso(cmd)
	return out.Bytes()
}

// description is the long text but for its exit codes, which have a section of their own.
func description(cmd *cobra.Command) string {
	var kept []string
	for paragraph := range strings.SplitSeq(cmd.Long, "\n\n") {
		words, _, _ := strings.Cut(paragraph, "Exit codes:")
		if words = strings.TrimSpace(words); words != "" {
			kept = append(kept, words)
		}
	}
	return strings.Join(kept, "\n\n")
}
