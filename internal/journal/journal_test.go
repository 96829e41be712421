package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// fill sets every field of a struct to something that is not zero: a field that is added and not written is noticed.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort(`[fe80::1%a"\b]:443`)
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.7")
		return
	case *time.Time:
		*x = time.Date(2026, 11, 22, 14, 59, 0, 123456789, time.FixedZone("", 3600))
		return
	case *error:
		*x = errors.New("say \"no\"\n\x00 größe \u2028 <&>")
		return
	case *target.Space:
		*x = spaceOf(t, "10.0.0.0", "10.255.255.255", 22, 80)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("say \"no\" <&>")
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(2)
	case reflect.Int, reflect.Int64:
		v.SetInt(81250)
	default:
		t.Fatalf("a field of the type %v: teach this test, and the journal, to keep it", v.Type())
	}
}

var comparing = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b error) bool { return a == b || a != nil && b != nil && a.Error() == b.Error() }),
	cmp.Comparer(func(a, b target.Space) bool { return reflect.DeepEqual(a, b) }),
}

func TestEveryFieldIsKept(t *testing.T) {
	var h Header
	var st Stage
	var m scan.Mark
	results := make([]probe.Result, 3) // the first one all zero, but for the target
	fill(t, reflect.ValueOf(&h).Elem())
	fill(t, reflect.ValueOf(&st).Elem())
	fill(t, reflect.ValueOf(&m).Elem())
	fill(t, reflect.ValueOf(&results[1]).Elem())
	results[0].Target.AddrPort = netip.MustParseAddrPort("10.0.0.1:80")
	results[2] = probe.Result{Target: results[0].Target, Reply: []byte{}, RTT: -1}

	path := put(t, nil)
	j, err := Create(path, h)
	if err != nil {
		t.Fatal(err)
	}
	_, err = j.Begin(st)
	_, serr := j.Span(scan.Span{Lo: 5, Hi: 9})
	m2 := m
	m2.Done, m2.Limited = 3, []netip.Addr{netip.MustParseAddr("192.0.2.8"), m.Limited[0]}
	if err := errors.Join(err, serr, j.Put(results), j.Mark(m), j.Mark(m2), j.Close()); err != nil {
		t.Fatal(err)
	}
	if j, err = Resume(path); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if d := cmp.Diff(h, j.Header(), comparing); d != "" {
		t.Errorf("the header (- written, + read): %s", d)
	}
	got, err := j.Begin(Stage{Name: st.Name})
	if d := cmp.Diff(st, got, comparing); d != "" || err != nil {
		t.Errorf("the stage, %v (- written, + read): %s", err, d)
	}
	past, err := j.Span(scan.Span{Lo: 5, Hi: 9})
	if err != nil {
		t.Fatal(err)
	}
	m2.Limited = []netip.Addr{m.Limited[0], netip.MustParseAddr("192.0.2.8")}
	if d := cmp.Diff(m2, past.Mark, comparing); d != "" {
		t.Errorf("the mark (- written, + read): %s", d)
	}
	for range 2 { // it can be read again
		if d := cmp.Diff(results, slices.Collect(past.Answers), comparing); d != "" {
			t.Errorf("the results (- written, + read): %s", d)
		}
	}
}

// Every word that there is, of those that package probe has now or gets, is read as what was written.
func TestEveryWordIsKept(t *testing.T) {
	for v := range 256 {
		r := probe.Result{Target: probe.Target{AddrPort: netip.MustParseAddrPort("10.0.0.1:80")}}
		r.Target.Proto, r.Method, r.State, r.Reason = probe.Proto(v), probe.Method(v), probe.State(v), probe.Reason(v)
		var back probe.Result
		if err := parseResult(append(appendResult(nil, &r), '}'), &back); err != nil || !reflect.DeepEqual(r, back) {
			t.Errorf("%+v is read as %+v, %v", r, back, err)
		}
	}
}

// Each line is JSON, for whatever other program reads it.
func TestLinesAreJSON(t *testing.T) {
	text := everyKind(t)
	kinds := map[any]bool{}
	for line := range bytes.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal(line, &object); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kinds[object["type"]] = true
		if sum, _ := object["crc"].(string); len(sum) != 8 {
			t.Errorf("%s has no checksum", line)
		}
	}
	if len(kinds) != 8 {
		t.Errorf("lines of the kinds %v", kinds)
	}
}

// Of a space as large as a /8 the journal has a line as short as any.
func TestLargeSpaceIsShort(t *testing.T) {
	path := put(t, nil)
	j, err := Create(path, Header{Local: spaceOf(t, "10.0.0.0", "10.255.255.255", 22, 80, 443)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = j.Begin(Stage{Name: "scan", Space: j.Header().Local})
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1000 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// sealed returns a journal of lines to which checksums are added.
func sealed(lines ...string) []byte {
	var b []byte
	sum := uint32(0)
	for _, line := range lines {
		start := len(b)
		b, sum = seal(append(b, strings.TrimSuffix(line, "}")...), start, sum)
	}
	return b
}

const (
	aHeader = `{"type":"journal","format":1,"version":"1.2.3","args":["scan"],"start":"2026-11-22T14:59:00Z","seed":1,"local":[],"public":[]}`
	aStage  = `{"type":"stage","name":"scan","space":[],"seed":1,"attempts":1,"timeout_ns":1,"order":"00000000"}`
	aSpan   = `{"type":"span","lo":0,"hi":9}`
	aResult = `{"type":"result","addr":"10.0.0.1","port":80,"proto":"tcp","method":"connect","state":"open","reason":"syn-ack"}`
)

func TestWhatCannotBeResumed(t *testing.T) {
	damaged := errors.New("damaged")
	end := `{"type":"end"}`
	for name, c := range map[string]struct {
		text []byte
		want error
		says string
	}{
		"nothing":                         {nil, ErrEmpty, "holds no scan"},
		"a piece of a header":             {sealed(aHeader)[:100], ErrEmpty, "holds no scan"},
		"the first bytes of one":          {[]byte(`{"ty`), ErrEmpty, "holds no scan"},
		"a text":                          {[]byte("hello\n"), ErrNoJournal, "is no journal"},
		"a report":                        {[]byte(`{"type":"result","addr":"10.0.0.1"}` + "\n"), ErrNoJournal, "is no journal"},
		"zeros":                           {make([]byte, 1<<20), ErrNoJournal, "is no journal"},
		"another format":                  {[]byte(`{"type":"journal","format":2,"version":"9.9.9","new":[]}` + "\n"), ErrNewer, "9.9.9"},
		"a field more in the header":      {sealed(strings.Replace(aHeader, `"seed"`, `"new":1,"seed"`, 1)), ErrNewer, `"new"`},
		"a field more in a stage":         {sealed(aHeader, strings.Replace(aStage, `"seed"`, `"new":1,"seed"`, 1)), ErrNewer, `"new"`},
		"a field more in a result":        {sealed(aHeader, aStage, aSpan, strings.Replace(aResult, `"port"`, `"new":1,"port"`, 1)), ErrNewer, `"new"`},
		"a word more in a result":         {sealed(aHeader, aStage, aSpan, strings.Replace(aResult, `"tcp"`, `"sctp"`, 1)), ErrNewer, `"sctp"`},
		"a kind more":                     {sealed(aHeader, `{"type":"new"}`), ErrNewer, `"new"`},
		"a header without a checksum":     {[]byte(aHeader + "\n"), damaged, "line 1"},
		"two headers":                     {sealed(aHeader, aHeader), damaged, "line 2"},
		"a span in no stage":              {sealed(aHeader, aSpan), damaged, "line 2"},
		"a result in no span":             {sealed(aHeader, aStage, aResult), damaged, "line 3"},
		"a result without a port":         {sealed(aHeader, aStage, aSpan, strings.Replace(aResult, `"port":80,`, ``, 1)), damaged, "line 4"},
		"a result with a port too high":   {sealed(aHeader, aStage, aSpan, strings.Replace(aResult, `80`, `65536`, 1)), damaged, "port"},
		"a result of no address":          {sealed(aHeader, aStage, aSpan, strings.Replace(aResult, `10.0.0.1`, `10.0.0`, 1)), damaged, "addr"},
		"results after verification":      {sealed(aHeader, aStage, aSpan, aStage, `{"type":"stage-end"}`, aResult), damaged, "line 6"},
		"something behind its end":        {sealed(aHeader, end, aStage), damaged, "line 3"},
		"a torn line behind its end":      {append(sealed(aHeader, end), "{"...), damaged, "line 3"},
		"an end inside a stage":           {sealed(aHeader, aStage, end), damaged, "line 3"},
		"another journal behind it":       {append(sealed(aHeader), sealed(aHeader)...), damaged, "checksum"},
		"a line of a journal of its kind": {append(sealed(aHeader), sealed(aHeader, aStage)[len(sealed(aHeader)):]...), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, c.text)
			j, err := Resume(path)
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				_ = j.Close()
				return
			}
			var broken *BrokenError
			if errors.Is(c.want, damaged) && !errors.As(err, &broken) || !errors.Is(c.want, damaged) && !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("the error says %q, nothing of %q", err, c.says)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, c.text) {
				t.Error("the file was changed")
			}
			if _, err := Resume(path); errors.Is(err, ErrInUse) {
				t.Error("the file is still locked")
			}
		})
	}
}

// What is there is never written over.
func TestCreateOverSomething(t *testing.T) {
	path := put(t, []byte("mine\n"))
	if _, err := Create(path, Header{}); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want ErrExists", err)
	}
	if text, err := os.ReadFile(path); string(text) != "mine\n" || err != nil {
		t.Errorf("the file is %q, %v", text, err)
	}
	if _, err := Create(filepath.Dir(path), Header{}); err == nil {
		t.Error("a directory became a journal")
	}
	if _, err := Create(filepath.Join(path, "no"), Header{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names the file", err)
	}
	if _, err := Resume(filepath.Join(filepath.Dir(path), "no")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
	other := put(t, nil)
	if _, err := Create(other, Header{Args: []string{"\xff"}}); err == nil {
		t.Error("an argument that JSON cannot hold was taken")
	}
	if j, err := Create(other, Header{}); err != nil {
		t.Errorf("a file that a refusal left is not to be had: %v", err)
	} else {
		_ = j.Close()
	}
}

// A scan that was killed before its header was whole can be started again under the same name.
func TestCreateOverTornHeader(t *testing.T) {
	for _, n := range []int{1, 20, len(sealed(aHeader)) - 1} {
		path := put(t, sealed(aHeader)[:n])
		j, err := Create(path, testHeader(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
		if j, err = Resume(path); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
	}
}

func TestTwoWriters(t *testing.T) {
	path := put(t, nil)
	j, err := Create(path, testHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Header{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one created it: %v", err)
	}
	if _, err := Resume(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one resumed it: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	first, err := Resume(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Resume(path); !errors.Is(err, ErrInUse) {
		t.Errorf("two resumed it: %v", err)
	}
}

// A torn line stays until there is something to write in its place.
func TestTornLineIsCutOff(t *testing.T) {
	whole := sealed(aHeader)
	path := put(t, append(slices.Clone(whole), sealed(aStage)[:70]...))
	j, err := Resume(path)
	if err != nil || j.Torn() != 70 {
		t.Fatalf("%d bytes torn, %v", j.Torn(), err)
	}
	if info, _ := os.Stat(path); info.Size() != int64(len(whole)+70) {
		t.Errorf("it has %d bytes before anything was written", info.Size())
	}
	if err := errors.Join(j.End(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); !bytes.Equal(text, sealed(aHeader, `{"type":"end"}`)) {
		t.Errorf("the file is %q", text)
	}
}

// A finished journal is walked through to its end, and not written.
func TestFinished(t *testing.T) {
	text := everyKind(t)
	path := put(t, text)
	j, err := Resume(path)
	if err != nil || !j.Finished() {
		t.Fatalf("finished: %v, %v", j.Finished(), err)
	}
	walk := func(name string) {
		t.Helper()
		st, err := j.Begin(Stage{Name: name})
		if err != nil || st.Space.Len() != 28 {
			t.Fatalf("%+v, %v", st, err)
		}
		past, err := j.Span(scan.Span{Hi: 28})
		if err != nil || past.Pass != 0 {
			t.Fatalf("%+v, %v", past, err)
		}
		var o outcome
		if err := errors.Join(j.Replay(past, &o), j.Mark(scan.Mark{})); err != nil || len(o.answers) != 3 {
			t.Fatalf("%v, %v", o, err)
		}
	}
	walk("scan")
	walk("verify")
	if err := errors.Join(j.EndSpan(), j.EndStage(), j.EndSpan(), j.EndStage(), j.End()); err != nil {
		t.Fatal(err)
	}
	if err := j.Put(make([]probe.Result, 1)); err == nil {
		t.Error("results were added to it")
	}
	_ = j.Close()
	if after, _ := os.ReadFile(path); !bytes.Equal(after, text) {
		t.Error("it was changed")
	}
}

// A scan that is not the journal's is refused where they part, and so is whatever comes then.
func TestAnotherScan(t *testing.T) {
	for name, walk := range map[string]func(*Journal) error{
		"another stage": func(j *Journal) error { _, err := j.Begin(Stage{Name: "alive"}); return err },
		"another span": func(j *Journal) error {
			_, err := j.Begin(Stage{Name: "scan"})
			_, serr := j.Span(scan.Span{Hi: 27})
			return errors.Join(err, serr)
		},
		"a stage less": func(j *Journal) error {
			_, err := j.Begin(Stage{Name: "scan"})
			_, serr := j.Span(scan.Span{Hi: 28})
			return errors.Join(err, serr, j.EndSpan())
		},
		"results of its own": func(j *Journal) error {
			_, err := j.Begin(Stage{Name: "scan"})
			_, serr := j.Span(scan.Span{Hi: 28})
			return errors.Join(err, serr, j.Put(make([]probe.Result, 1)))
		},
		"no stage at all": func(j *Journal) error { return j.End() },
	} {
		t.Run(name, func(t *testing.T) {
			text := everyKind(t)
			path := put(t, text)
			j, err := Resume(path)
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if err := walk(j); !errors.Is(err, ErrOther) {
				t.Errorf("error %v, want ErrOther", err)
			}
			if err := j.EndStage(); !errors.Is(err, ErrOther) {
				t.Errorf("it goes on: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(text, after) {
				t.Error("the journal was changed")
			}
		})
	}
}

// A journal whose marks count in another order cannot be gone on with.
func TestAnotherOrder(t *testing.T) {
	path := put(t, sealed(aHeader, strings.Replace(aStage, `"space":[]`, `"space":[{"ports":{"tcp":"22"},"addrs":["10.0.0.1"]}]`, 1)))
	j, err := Resume(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Begin(Stage{Name: "scan"}); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "1.2.3") {
		t.Errorf("error %v, want ErrNewer", err)
	}
}

// A program that says things in the wrong order must not make a journal that cannot be read.
func TestMisuse(t *testing.T) {
	for name, say := range map[string]func(*Journal) error{
		"a result in no span":        func(j *Journal) error { return j.Put(make([]probe.Result, 1)) },
		"a mark in no span":          func(j *Journal) error { return j.Mark(scan.Mark{Pass: 1}) },
		"an end of no span":          func(j *Journal) error { return j.EndSpan() },
		"an end of no stage":         func(j *Journal) error { return j.EndStage() },
		"a span in no stage":         func(j *Journal) error { _, err := j.Span(scan.Span{}); return err },
		"the end of a span not over": func(j *Journal) error { return errors.Join(inSpan(j), j.EndSpan()) },
		"verifying a span not over": func(j *Journal) error {
			_, err := j.Begin(Stage{})
			return errors.Join(inSpan(j), err)
		},
		"the end in a span": func(j *Journal) error { return errors.Join(inSpan(j), j.End()) },
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, nil)
			j, err := Create(path, testHeader(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := say(j); err == nil {
				t.Error("it was written")
			}
			_ = j.Close()
			if j, err = Resume(path); err != nil {
				t.Errorf("the journal is spoilt: %v", err)
			}
			_ = j.Close()
		})
	}
}

func inSpan(j *Journal) error {
	_, err := j.Begin(Stage{Name: "scan", Space: j.Header().Local})
	_, serr := j.Span(scan.Span{Hi: 28})
	return errors.Join(err, serr)
}

func TestNilKeepsNothing(t *testing.T) {
	var j *Journal
	st, err := j.Begin(Stage{Name: "scan"})
	past, serr := j.Span(scan.Span{})
	if st.Name != "scan" || past != nil {
		t.Errorf("%+v, %+v", st, past)
	}
	if err := errors.Join(err, serr, j.Replay(nil, nil), j.Put(make([]probe.Result, 1)), j.Mark(scan.Mark{}), j.EndSpan(), j.EndStage(), j.End(), j.Close()); err != nil {
		t.Error(err)
	}
	if j.Finished() || j.Torn() != 0 || j.Header().Version != "" {
		t.Error("it holds something")
	}
}

// Before a mark says so nothing is accounted for; an answer to a later pass says so too.
func TestPastWithoutMarks(t *testing.T) {
	second := strings.Replace(aResult, `"reason":"syn-ack"`, `"reason":"syn-ack","attempt":2`, 1)
	for _, c := range []struct {
		lines []string
		want  scan.Mark
	}{
		{nil, scan.Mark{Pass: 1}},
		{[]string{second}, scan.Mark{Pass: 2, Heard: true}},
		{[]string{`{"type":"mark","Pass":2,"Done":7}`, aResult}, scan.Mark{Pass: 2, Done: 7}},
		{[]string{`{"type":"mark","Pass":2,"Done":7}`, second}, scan.Mark{Pass: 2, Done: 7, Heard: true}},
		{[]string{second, `{"type":"mark","Pass":0}`}, scan.Mark{}},
	} {
		stage := strings.Replace(aStage, "00000000", orderOf(Stage{}), 1)
		j, err := Resume(put(t, sealed(append([]string{aHeader, stage, aSpan}, c.lines...)...)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = j.Begin(Stage{Name: "scan"})
		past, serr := j.Span(scan.Span{Hi: 9})
		if err := errors.Join(err, serr); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, past.Mark, comparing); d != "" {
			t.Errorf("%s: %s", c.lines, d)
		}
		_ = j.Close()
	}
}

// A file that breaks off under a resumed scan fails it: its answers are not the fewer for it in silence.
func TestReadingFails(t *testing.T) {
	path := put(t, everyKind(t))
	j, err := Resume(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	_, err = j.Begin(Stage{Name: "scan"})
	past, serr := j.Span(scan.Span{Hi: 28})
	if err := errors.Join(err, serr); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	changed := bytes.Replace(text, []byte(`"reset"`), []byte(`"RESET"`), 1)
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(past, &outcome{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names the journal", err)
	}
	if err := j.EndSpan(); err == nil {
		t.Error("the scan goes on")
	}
}
