package packet

import (
	"fmt"
	"strings"
)

// String describes a datagram in one line, as tcpdump might.
func (d *Datagram) String() string {
	if d.Proto == TCP {
		return "TCP " + d.Segment.String()
	}
	name := "ICMP"
	if d.Proto == ICMPv6 {
		name = "ICMPv6"
	}
	text := fmt.Sprintf("%s %v > %v type %d code %d ttl %d", name, d.Src.Addr(), d.Dst.Addr(), d.Type, d.Code, d.TTL)
	if d.QuotedProto != TCP {
		return text
	}
	return fmt.Sprintf("%s about TCP %v > %v seq %d ttl %d", text, d.Quoted.Src, d.Quoted.Dst, d.Quoted.Seq, d.Quoted.TTL)
}

// String describes a segment in one line.
func (s *Segment) String() string {
	text := fmt.Sprintf("%v > %v %v seq %d", s.Src, s.Dst, s.Flags, s.Seq)
	if s.Flags&FlagACK != 0 {
		text += fmt.Sprintf(" ack %d", s.Ack)
	}
	text += fmt.Sprintf(" win %d ttl %d", s.Window, s.TTL)
	if options := s.Options.String(); options != "" {
		text += " <" + options + ">"
	}
	return text
}

// String lists the options that are there.
func (o *Options) String() string {
	var words []string
	add := func(there bool, format string, args ...any) {
		if there {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(o.MSS > 0, "mss %d", o.MSS)
	add(o.SACKPermitted, "sack permitted")
	add(o.Timestamps, "timestamps %d %d", o.TSVal, o.TSEcr)
	add(o.Scaled, "window scale %d", o.WindowScale)
	return strings.Join(words, ", ")
}
