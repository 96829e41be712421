package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A roff writes a page in the man macros (groff_man(7)).
type roff struct{ *bytes.Buffer }

func (p *roff) line(text string) { fmt.Fprintln(p, text) }

func (p *roff) section(title string) { p.macro("SH", title) }

// macro writes a request whose arguments may be empty or of several words.
func (p *roff) macro(name string, args ...string) {
	for i, a := range args {
		args[i] = a
		if a == "" || strings.Contains(a, " ") {
			args[i] = `"` + a + `"`
		}
	}
	p.line("." + name + " " + strings.Join(args, " "))
}

// lineWidth is how long a line of prose becomes before it is escaped; 80 is what mandoc(1) bears after.
const lineWidth = 66

// escape makes text mean itself: roff reads backslashes, takes a plain hyphen for one that
// may end a line, and obeys lines that begin with a point or an apostrophe.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\&...`, "'", `\(aq`, "–", `\(en`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

var (
	flagWord    = regexp.MustCompile(`(^|[\s(])(--?[a-zA-Z0-9][a-z0-9-]*)`)
	sentenceEnd = regexp.MustCompile(`([.:;?])\s+`)
)

// prose writes paragraphs that empty lines part, a line for each sentence, and flags in bold.
func (p *roff) prose(text string) {
	if text == "" {
		return
	}
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		p.filled(paragraph)
	}
}

// filled writes one paragraph.
func (p *roff) filled(paragraph string) {
	oneLine := strings.Join(strings.Fields(paragraph), " ")
	for sentence := range strings.SplitSeq(sentenceEnd.ReplaceAllString(oneLine, "$1\n"), "\n") {
		for _, line := range wrap(sentence, lineWidth) {
			p.line(bold(line))
		}
	}
}

func bold(line string) string {
	marked := flagWord.ReplaceAllString(line, "$1\x01$2\x02")
	return strings.NewReplacer("\x01", `\fB`, "\x02", `\fR`).Replace(escape(marked))
}

// wrap cuts a sentence into lines of about width.
func wrap(sentence string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(sentence) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

func (p *roff) synopsis(cmd *cobra.Command) {
	p.section("SYNOPSIS")
	for i, form := range strings.Split(strings.TrimSuffix(cmd.Use, " [flags]"), " | ") {
		if i > 0 {
			p.line(".br")
		}
		_, args, _ := strings.Cut(form, " ")
		if i > 0 {
			args = form // Use names the command once
		}
		if cmd.HasAvailableSubCommands() {
			args = "COMMAND"
		}
		p.line(strings.TrimSpace(fmt.Sprintf(`\fB%s\fR [\fIoption\fR]\&... %s`, escape(cmd.CommandPath()), escape(args))))
	}
}

func (p *roff) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.section("COMMANDS")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			p.entry(fmt.Sprintf(`\fB%s\fR(1)`, escape(pageName(sub))), sub.Short)
		}
	}
}

// options writes a command's own flags in the order of its --help, then those that every command has.
func (p *roff) options(cmd *cobra.Command) {
	p.section("OPTIONS")
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	inherited := cmd.InheritedFlags() // of which cmd.Flags has copies from here on
	isCommon := func(f *pflag.Flag) bool {
		return f.Name == "help" || inherited.Lookup(f.Name) != nil || cmd.PersistentFlags().Lookup(f.Name) != nil
	}
	for _, common := range []bool{false, true} {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && isCommon(f) == common {
				p.option(f)
			}
		})
	}
}

func (p *roff) option(f *pflag.Flag) {
	argument, usage := pflag.UnquoteUsage(f)
	tag := fmt.Sprintf(`\fB\-\-%s\fR`, escape(f.Name))
	if f.Shorthand != "" {
		tag = fmt.Sprintf(`\fB\-%s\fR, %s`, f.Shorthand, tag)
	}
	if argument != "" {
		tag += fmt.Sprintf(` \fI%s\fR`, escape(argument))
	}
	if !slices.Contains([]string{"", "0", "false", "[]"}, f.DefValue) {
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	p.entry(tag, usage)
}

// An entry is a term and what it means.
type entry struct{ term, meaning string }

func (p *roff) entries(all []entry) {
	for _, e := range all {
		p.entry(`\fB`+escape(e.term)+`\fR`, e.meaning)
	}
}

// entry writes a term that is roff already, and its meaning, which is not.
func (p *roff) entry(tag, meaning string) {
	p.line(".TP")
	p.line(tag)
	p.filled(meaning)
}

// verbatim writes lines as they are, without what they are indented by.
func (p *roff) verbatim(text string) {
	p.line(".nf")
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		p.line(escape(strings.TrimPrefix(line, "  ")))
	}
	p.line(".fi")
}

// seeAlso names the pages above, beside and below.
func (p *roff) seeAlso(cmd *cobra.Command) {
	var names []string
	near := cmd
	if cmd.HasParent() {
		near = cmd.Parent()
		names = append(names, pageName(near))
	}
	for _, c := range near.Commands() {
		if c != cmd && c.IsAvailableCommand() {
			names = append(names, pageName(c))
		}
	}
	p.section("SEE ALSO")
	for i, name := range names {
		comma := ","
		if i == len(names)-1 {
			comma = ""
		}
		p.line(fmt.Sprintf(".BR %s (1)%s", escape(name), comma))
	}
}
