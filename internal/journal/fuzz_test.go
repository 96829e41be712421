package journal

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"sonde/internal/probe"
)

// Whatever a file holds, it is refused or it is a journal: one whose whole lines are a journal too.
func FuzzCheck(f *testing.F) {
	f.Add(everyKind(f))
	f.Add(sealed(aHeader, aStage, aSpan, aResult, `{"type":"mark","Pass":0}`, `{"type":"span-end"}`, `{"type":"stage-end"}`, `{"type":"end"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := check(bytes.NewReader(text), int64(len(text)), "x")
		whole := int64(0)
		var broken *BrokenError
		switch {
		case err == nil:
			whole = c.end.offset
		case errors.As(err, &broken):
			whole = broken.Offset
		}
		if whole > int64(len(text)) || err == nil && whole == 0 {
			t.Fatalf("%d of %d bytes are whole", whole, len(text))
		}
		if whole == 0 {
			return
		}
		if again, err := check(bytes.NewReader(text[:whole]), whole, "x"); err != nil || again.end.offset != whole {
			t.Fatalf("the %d whole bytes are none: %v", whole, err)
		}
	})
}

// The same behind checksums that fit, which no fuzzer finds.
func FuzzSealedLines(f *testing.F) {
	f.Add(aStage + "\n" + aSpan + "\n" + aResult + "\n" + `{"type":"mark","Pass":1,"Done":5,"Limited":["10.0.0.1"]}` + "\n" + `{"type":"span-end"}`)
	f.Fuzz(func(_ *testing.T, text string) {
		lines := append([]string{aHeader}, bytesLines(text)...)
		file := sealed(lines...)
		_, _ = check(bytes.NewReader(file), int64(len(file)), "x")
	})
}

func bytesLines(text string) (lines []string) {
	for line := range bytes.SplitSeq([]byte(text), []byte("\n")) {
		lines = append(lines, string(line))
	}
	return lines
}

// A result that can be read is written so that it reads the same.
func FuzzResult(f *testing.F) {
	f.Add([]byte(aResult))
	f.Add([]byte(`{"type":"result","addr":"fe80::1%a\"b","port":1,"proto":"udp","state":"open|filtered","reason":"port-unreach","from":"192.0.2.1",` +
		`"icmp_type":3,"icmp_code":13,"ttl":64,"attempt":2,"rtt_ns":-5,"time":"2026-11-22T14:59:00.5+01:00","err":"\u0000","reply":"AAECAw==","control":true}`))
	f.Fuzz(func(t *testing.T, object []byte) {
		var r, back probe.Result
		if parseResult(object, &r) != nil {
			return
		}
		if err := parseResult(append(appendResult(nil, &r), '}'), &back); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if !r.Time.Equal(back.Time) {
			t.Fatalf("%v becomes %v", r.Time, back.Time)
		}
		back.Time = r.Time
		if !reflect.DeepEqual(r, back) {
			t.Fatalf("%+v becomes %+v", r, back)
		}
	})
}
