package journal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"sonde/internal/probe"
)

// Results are most of a journal, and a scan waits for them to be written. So their lines are made and read by
// hand, in a tenth of the time that encoding/json takes:
//
//	{"type":"result","addr":"192.0.2.1","port":22,"proto":"tcp","method":"connect","state":"open","reason":"syn-ack",
//	"ttl":64,"attempt":1,"rtt_ns":81250,"time":"2026-11-22T14:59:00.123456789Z","reply":"U1NILTIuMA==","crc":"…"}
//
// What is zero is left out, but for the target and what is said of it. A reply is in base64.

// appendResult appends the line of r, without its end.
func appendResult(b []byte, r *probe.Result) []byte {
	b = append(b, typeMark+kindResult+`","addr":`...)
	b = appendAddr(b, r.Target.Addr())
	b = append(b, `,"port":`...)
	b = strconv.AppendUint(b, uint64(r.Target.Port()), 10)
	b = appendWord(b, `,"proto":"`, r.Target.Proto.String())
	b = appendWord(b, `,"method":"`, r.Method.String())
	b = appendWord(b, `,"state":"`, r.State.String())
	b = appendWord(b, `,"reason":"`, r.Reason.String())
	if r.From.IsValid() {
		b = append(b, `,"from":`...)
		b = appendAddr(b, r.From)
	}
	b = appendNumber(b, `,"icmp_type":`, int64(r.ICMP.Type))
	b = appendNumber(b, `,"icmp_code":`, int64(r.ICMP.Code))
	b = appendNumber(b, `,"ttl":`, int64(r.TTL))
	b = appendNumber(b, `,"attempt":`, int64(r.Attempt))
	b = appendNumber(b, `,"rtt_ns":`, int64(r.RTT))
	if !r.Time.IsZero() {
		b = append(b, `,"time":"`...)
		b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	if r.Err != nil {
		b = append(b, `,"err":`...)
		b = appendString(b, r.Err.Error())
	}
	if r.Reply != nil {
		b = append(b, `,"reply":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Reply)
		b = append(b, '"')
	}
	if r.Control {
		b = append(b, `,"control":true`...)
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Zone() != "" {
		return appendString(b, a.String())
	}
	b = append(b, '"')
	b = a.AppendTo(b)
	return append(b, '"')
}

func appendWord(b []byte, key, word string) []byte {
	b = append(b, key...)
	b = append(b, word...)
	return append(b, '"')
}

func appendNumber(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, key...)
	return strconv.AppendInt(b, n, 10)
}

// parseResult reads what appendResult wrote, as an object.
func parseResult(object []byte, r *probe.Result) error {
	*r = probe.Result{}
	var addr netip.Addr
	var port uint16
	rest, ok := bytes.CutPrefix(object, []byte(typeMark+kindResult+`"`))
	if !ok {
		return errForm
	}
	for len(rest) > 1 {
		key, value, behind, err := member(rest)
		if err != nil {
			return err
		}
		switch string(key) {
		case "addr":
			addr, err = readAddr(value)
		case "port":
			err = readNumber(value, &port)
		default:
			err = readField(r, key, value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		rest = behind
	}
	if string(rest) != "}" || !addr.IsValid() || port == 0 {
		return errForm
	}
	r.Target.AddrPort = netip.AddrPortFrom(addr, port)
	return nil
}

func readField(r *probe.Result, key, value []byte) (err error) {
	switch string(key) {
	case "proto":
		return readWord(value, &r.Target.Proto)
	case "method":
		return readWord(value, &r.Method)
	case "state":
		return readWord(value, &r.State)
	case "reason":
		return readWord(value, &r.Reason)
	case "from":
		r.From, err = readAddr(value)
	case "icmp_type":
		return readNumber(value, &r.ICMP.Type)
	case "icmp_code":
		return readNumber(value, &r.ICMP.Code)
	case "ttl":
		return readNumber(value, &r.TTL)
	case "attempt":
		return readNumber(value, &r.Attempt)
	case "rtt_ns":
		return readNumber(value, &r.RTT)
	case "time":
		return r.Time.UnmarshalJSON(value)
	case "err":
		var text string
		err = json.Unmarshal(value, &text)
		r.Err = errors.New(text)
	case "reply":
		r.Reply, err = base64.StdEncoding.AppendDecode([]byte{}, unquote(value))
	case "control":
		r.Control = string(value) == "true"
	default:
		return unknown("the field %q in a result", key)
	}
	return err
}

// member reads one member of a flat object, `,"key":value`, and returns what is behind it.
func member(text []byte) (key, value, behind []byte, err error) {
	rest, ok := bytes.CutPrefix(text, []byte(`,"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 || len(rest) < end+3 || rest[end+1] != ':' {
		return nil, nil, nil, errForm
	}
	key, rest = rest[:end], rest[end+2:]
	if rest[0] == '"' {
		end = stringEnd(rest)
	} else {
		end = bytes.IndexAny(rest, ",}")
	}
	if end < 1 || end >= len(rest) {
		return nil, nil, nil, errForm
	}
	return key, rest[:end], rest[end:], nil
}

// stringEnd returns where a JSON string ends that begins s, -1 if it does not.
func stringEnd(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func unquote(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	return value[1 : len(value)-1]
}

func readAddr(value []byte) (netip.Addr, error) {
	if bytes.IndexByte(value, '\\') < 0 {
		return netip.ParseAddr(string(unquote(value)))
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(text)
}

func readNumber[T ~uint8 | ~uint16 | ~int64](value []byte, to *T) error {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if *to = T(n); err == nil && int64(*to) != n {
		err = strconv.ErrRange
	}
	return err
}

// readWord finds the value that has the word: one of the first few, for a word that there is.
func readWord[T interface {
	~uint8
	String() string
}](value []byte, to *T) error {
	word := unquote(value)
	for v := 0; v < 256; v++ {
		if T(v).String() == string(word) {
			*to = T(v)
			return nil
		}
	}
	return unknown("the word %q in a result", word)
}
