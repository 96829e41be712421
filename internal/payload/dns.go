package payload

import (
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

// dns asks for the address of localhost, which every server may answer by itself (RFC 6761, section 6.3), so that nothing
// is asked on the target's behalf, and with recursion desired, since some forwarders say nothing otherwise. Whatever the
// server says of it is an answer: an address, REFUSED, NXDOMAIN. RFC 1035, sections 4.1.1 and 4.1.2.
var dns = dnsQuestion("dns", dnsmessage.Question{
	Name:  dnsmessage.MustNewName("localhost."),
	Type:  dnsmessage.TypeA,
	Class: dnsmessage.ClassINET,
}, true)

// mdns asks which kinds of services there are (RFC 6763, section 9). The top bit of the class asks for an answer by
// unicast (RFC 6762, section 5.4); our source port, which is not 5353, makes it repeat ID and question (section 6.7).
var mdns = dnsQuestion("mdns", dnsmessage.Question{
	Name:  dnsmessage.MustNewName("_services._dns-sd._udp.local."),
	Type:  dnsmessage.TypePTR,
	Class: dnsmessage.ClassINET | 1<<15,
}, false)

// llmnr asks for the name of 127.0.0.1. Responders answer for what is theirs only (RFC 4795, section 2.3), and that
// address is everybody's; still, many have no name for it and say nothing.
var llmnr = dnsQuestion("llmnr", dnsmessage.Question{
	Name:  dnsmessage.MustNewName("1.0.0.127.in-addr.arpa."),
	Type:  dnsmessage.TypePTR,
	Class: dnsmessage.ClassINET,
}, false)

// netBIOS asks for the node's status under the name "*", in its first-level encoding: each half-byte plus 'A', the
// name padded with zeros. RFC 1001, section 14.1; RFC 1002, sections 4.2.17 and 4.2.18.
var netBIOS = dnsQuestion("netbios-ns", dnsmessage.Question{
	Name:  dnsmessage.MustNewName("CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA."),
	Type:  0x21, // NBSTAT
	Class: dnsmessage.ClassINET,
}, false)

// dnsQuestion is a question in the format of RFC 1035. The ID has 16 bits of the token.
func dnsQuestion(name string, q dnsmessage.Question, recursion bool) question {
	return question{
		name: name, bits: 16,
		ask: func(b []byte, token uint64) []byte {
			return appendDNS(b, dnsmessage.Header{ID: uint16(token), RecursionDesired: recursion}, q)
		},
		answered: func(token uint64, reply []byte) bool { return dnsAnswers(uint16(token), q, reply) },
	}
}

func appendDNS(b []byte, h dnsmessage.Header, q dnsmessage.Question) []byte {
	builder := dnsmessage.NewBuilder(b, h)
	if builder.StartQuestions() != nil || builder.Question(q) != nil {
		return b
	}
	message, err := builder.Finish()
	if err != nil {
		return b
	}
	return message
}

// dnsAnswers wants the question back where the reply has one. Refusals may lack it, and answers of NetBIOS and
// multicast DNS do; the name's case is the server's business.
func dnsAnswers(id uint16, q dnsmessage.Question, reply []byte) bool {
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil || h.ID != id || !h.Response {
		return false
	}
	got, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) {
		return true
	}
	return err == nil && got.Type == q.Type && sameName(got.Name, q.Name)
}

func sameName(a, b dnsmessage.Name) bool {
	if a.Length != b.Length {
		return false
	}
	for i := range a.Length {
		if lower(a.Data[i]) != lower(b.Data[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
