package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sonde/internal/probe"
)

// A filter is the rules of one namespace, in an nftables table of their own.
type filter struct {
	Client  bool // on the client the packets to the hosts go out
	Relayed bool // what the host sends comes by twice, the second time with the relay's mark
	Rules   []Rule
}

const tableName = "lab"

// lay puts the rules where the packets pass. A host has them for itself and for what it forwards: everything In comes
// from the client's side, eth0, and everything Out leaves there.
func (f *filter) lay() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter})
	}
	input, output := chain("input", nftables.ChainHookInput), chain("output", nftables.ChainHookOutput)
	forward := chain("forward", nftables.ChainHookForward)
	if f.Client {
		input, output = output, input
	}
	if f.Relayed {
		marked := []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equal(binaryutil.NativeEndian.PutUint32(relayMark))}
		conn.AddRule(&nftables.Rule{Table: table, Chain: output, Exprs: append(marked, &expr.Verdict{Kind: expr.VerdictAccept})})
	}
	for i, r := range f.Rules {
		add := func(c *nftables.Chain, where []expr.Any, way Way) {
			for _, packet := range r.packets(way) {
				exprs := slices.Concat(where, inPrefix(r.Addrs.Masked(), way), packet, r.act())
				conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: exprs, UserData: binary.BigEndian.AppendUint16(nil, uint16(i))})
			}
		}
		if r.Way != Out {
			add(input, nil, In)
			add(forward, device(expr.MetaKeyIIFNAME), In)
		}
		if r.Way != In {
			add(output, nil, Out)
			add(forward, device(expr.MetaKeyOIFNAME), Out)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables: lay %d rules: %w", len(f.Rules), err)
	}
	return nil
}

// takeAll hands the TCP connections to all ports but those of other listeners to the socket on one port, which
// sees them as if it were on each (Linux's Documentation/networking/tproxy.rst).
func takeAll(port uint16, listeners []Listener) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName + "-all"})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "prerouting", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
	for _, l := range listeners {
		if l.Proto == probe.TCP && !l.Ports.all() {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(Rule{Ports: l.Ports}.packet(In), &expr.Verdict{Kind: expr.VerdictAccept})})
		}
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(Rule{}.packet(In),
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)}, &expr.TProxy{RegPort: 1})})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// hits reads the counters back, one sum for each rule.
func hits() ([]uint64, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}
	var sums []uint64
	for _, chain := range []string{"input", "output", "forward"} {
		rules, err := conn.GetRules(table, &nftables.Chain{Table: table, Name: chain})
		if err != nil {
			return nil, fmt.Errorf("nftables: read chain %s: %w", chain, err)
		}
		for _, r := range rules {
			if len(r.UserData) == 0 {
				continue // nobody's
			}
			i := int(binary.BigEndian.Uint16(r.UserData))
			for len(sums) <= i {
				sums = append(sums, 0)
			}
			for _, e := range r.Exprs {
				if c, ok := e.(*expr.Counter); ok {
					sums[i] += c.Packets
				}
			}
		}
	}
	return sums, nil
}

// device matches the interface on the client's side.
func device(key expr.MetaKey) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "eth0")
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, equal(name)}
}

// inPrefix matches a packet of p's family whose address at the host's end is in p; all packets for the zero prefix.
// The offsets are those of the headers of RFC 791 and RFC 8200.
func inPrefix(p netip.Prefix, way Way) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	family, source, size := byte(unix.NFPROTO_IPV6), uint32(8), uint32(16)
	if p.Addr().Is4() {
		family, source, size = unix.NFPROTO_IPV4, 12, 4
	}
	offset := source
	if way == In {
		offset += size
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal([]byte{family}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(p.Bits(), int(size)*8), Xor: make([]byte, size)},
		equal(p.Addr().AsSlice()),
	}
}

// packets returns what matches the transport header: one match, or one for each family.
func (r Rule) packets(way Way) [][]expr.Any {
	if r.Proto != probe.Echo {
		return [][]expr.Any{r.packet(way)}
	}
	request := []byte{8, 128} // RFC 792; RFC 4443, section 4.1
	if way == Out {
		request = []byte{0, 129}
	}
	echo := func(proto, kind byte) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{proto}),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}, equal([]byte{kind}),
		}
	}
	return [][]expr.Any{echo(unix.IPPROTO_ICMP, request[0]), echo(unix.IPPROTO_ICMPV6, request[1])}
}

func (r Rule) packet(way Way) []expr.Any {
	proto := byte(unix.IPPROTO_TCP)
	if r.Proto == probe.UDP {
		proto = unix.IPPROTO_UDP
	}
	exprs := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{proto})}
	if !r.Ports.all() {
		var offset uint32 // the source port, then the destination port
		if way == In {
			offset = 2
		}
		exprs = append(exprs,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
			&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: binaryutil.BigEndian.PutUint16(r.Ports.First), ToData: binaryutil.BigEndian.PutUint16(r.Ports.Last)})
	}
	if r.Flags != 0 {
		flags := []byte{byte(r.Flags)}
		exprs = append(exprs,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: flags, Xor: []byte{0}}, equal(flags))
	}
	return exprs
}

// act is the end of a rule: the dice or the bucket, the counter, the verdict.
func (r Rule) act() []expr.Any {
	counter, drop := &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}
	switch r.Do {
	case Count:
		return []expr.Any{counter}
	case Accept:
		return []expr.Any{counter, &expr.Verdict{Kind: expr.VerdictAccept}}
	case Drop:
		return []expr.Any{counter, drop}
	case Lose:
		return []expr.Any{
			&expr.Numgen{Register: 1, Type: unix.NFT_NG_RANDOM, Modulus: 100},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(r.Percent))},
			counter, drop,
		}
	case Limit:
		limit := &expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(r.PerSecond), Unit: expr.LimitTimeSecond, Burst: 5, Over: true}
		return []expr.Any{limit, counter, drop}
	}
	return []expr.Any{counter, r.reject()}
}

// reject answers. ICMPX is the kernel's word for the code that means the same in both families.
func (r Rule) reject() *expr.Reject {
	icmpx := map[Action]uint8{
		NetUnreach: unix.NFT_REJECT_ICMPX_NO_ROUTE, PortUnreach: unix.NFT_REJECT_ICMPX_PORT_UNREACH,
		HostUnreach: unix.NFT_REJECT_ICMPX_HOST_UNREACH, AdminProhibited: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED,
	}
	switch r.Do {
	case Reset:
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	case Unreach:
		return &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: r.Code}
	}
	return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: icmpx[r.Do]}
}

func equal(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }
