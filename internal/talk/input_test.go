package talk

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// However the input is chunked, the lines of a cutter are the input.
func TestCutterLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab\n]{0,40}`).Draw(t, "text")
		const limit = 8
		cut := newCutter(iotest.OneByteReader(strings.NewReader(text)), limit, false)
		var got strings.Builder
		for {
			line, err := cut.next()
			if errors.Is(err, io.EOF) {
				break
			}
			var long *TooLongError
			if errors.As(err, &long) {
				lines := strings.SplitAfter(text, "\n")
				if len(lines[long.Line-1]) <= limit {
					t.Fatalf("line %d of %q refused", long.Line, text)
				}
				return
			}
			if err != nil || len(line) == 0 || len(line) > limit || strings.Count(string(line), "\n") > 1 {
				t.Fatalf("line %q, %v", line, err)
			}
			got.Write(line)
		}
		if got.String() != text {
			t.Fatalf("%q became %q", text, got.String())
		}
	})
}

func TestCRLFIsTheSameInAnyChunks(t *testing.T) {
	loneLF := regexp.MustCompile(`(^|[^\r])\n`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a\r\n]{0,20}`).Draw(t, "text")
		want := text
		for loneLF.MatchString(want) { // matches cannot overlap, so more than once
			want = loneLF.ReplaceAllString(want, "$1\r\n")
		}
		for _, in := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			got, err := io.ReadAll(&crlfReader{in: in})
			if err != nil || string(got) != want {
				t.Fatalf("%q became %q, want %q (%v)", text, got, want, err)
			}
		}
	})
}
