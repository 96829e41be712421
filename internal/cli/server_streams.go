package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// streams are a server's stdout and log. While it serves their readers may take their time; a reader that has stopped to read does not keep
// it from ending.
type streams struct{ out, log *impatient }

// openStreams has the app write its log by way of them. It is to be called before there are many descriptors: select(2) knows the lowest only.
func (a *app) openStreams() streams {
	s := streams{&impatient{out: mayWait(a.out)}, &impatient{out: mayWait(a.err)}}
	a.log = s.log
	return s
}

// mayWait returns what ends a write to f that waits for a reader. A regular file has none.
func mayWait(f *os.File) io.WriteCloser {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return regular{f}
	}
	return promptly(f, interruptible(f))
}

type regular struct{ *os.File }

// Close does nothing: no write waits.
func (regular) Close() error { return nil }

// hurryAfter has writes wait no more for their reader than a moment when ctx has ended and then the grace.
func (s *streams) hurryAfter(ctx context.Context, grace time.Duration) {
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, s.hurry) })
}

func (s *streams) hurry() {
	s.out.hurry()
	s.log.hurry()
}

// why words the error of a server whose reader stopped to read.
func (s *streams) why(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return failure(errors.New("the reader of standard output reads no more, so what came last is not written"),
			"look at what reads it, or write to a file")
	}
	return err
}
