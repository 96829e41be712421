package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"

	"sonde/internal/talk"
)

// onTerminal reports whether a person types and reads here.
func (t *talker) onTerminal() bool {
	return term.IsTerminal(int(t.in.Fd())) && term.IsTerminal(int(t.out.Fd()))
}

// converse holds the conversation, and gives the terminal back as it was.
func (t *talker) converse(ctx context.Context, conn net.Conn) (talk.Summary, error) {
	c := talk.Conversation{Wait: t.wait, CRLF: t.crlf, One: t.one, Note: func(text string) { t.note("%s", text) }}
	if t.verbose {
		c.Detail = c.Note
	}
	if t.onTerminal() {
		return t.converseHere(ctx, c, conn)
	}
	in, out := interruptible(t.in), interruptible(t.out)
	defer context.AfterFunc(ctx, func() { _ = out.Close() })()
	return t.hold(ctx, c, conn, in, t.printer(out)), nil
}

// converseHere holds it with a person.
func (t *talker) converseHere(ctx context.Context, c talk.Conversation, conn net.Conn) (talk.Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	terminal, err := openTerminal(t.in, t.out, func() { cancel(signalError(syscall.SIGINT)) })
	if err != nil {
		_ = conn.Close()
		return talk.Summary{}, fmt.Errorf("open the terminal: %w", err)
	}
	defer terminal.restore()
	if term.IsTerminal(int(t.err.Fd())) && !t.quiet {
		c.Note = terminal.say
	}
	chat := talk.NewChat(terminal, t.form(), t.udp)
	if !t.noHistory {
		terminal.remember(openHistory(historyFile(), c.Note))
	}
	if !t.one { // with one datagram to send, the end of the input is what sends it
		terminal.commands = true
		c.Interactive, c.Commands = true, &talk.Commands{Say: terminal.say, Chat: chat, Open: openPlainFile, Nearest: nearest}
	}
	return t.hold(ctx, c, conn, terminal, chat), nil
}

// openPlainFile opens a file that has an end, and nothing that could make us wait for it.
func openPlainFile(path string) (io.ReadCloser, error) {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be read", path)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no plain file", path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%s may not be read", path)
	}
	return f, err
}

func (t *talker) hold(ctx context.Context, c talk.Conversation, conn net.Conn, in io.ReadCloser, out talk.Printer) talk.Summary {
	if udp, ok := conn.(*net.UDPConn); ok {
		return c.Datagrams(ctx, udp, in, out)
	}
	return c.Stream(ctx, conn, in, out)
}

func (t *talker) form() talk.Form {
	switch {
	case t.hex:
		return talk.Hex
	case t.raw:
		return talk.Raw
	}
	return talk.Safe
}

// printer is for an output where nobody types: exact, but for a terminal's sake.
func (t *talker) printer(out io.Writer) talk.Printer {
	switch {
	case t.hex:
		return &talk.Dump{W: out, Datagrams: t.udp}
	case !t.raw && term.IsTerminal(int(t.out.Fd())):
		return talk.NewEscaped(out, t.udp)
	}
	return talk.Exact{W: out}
}
