package sock

import (
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// attachFilter keeps from a packet socket what does not answer probes from ports first to last (socket(7), SO_ATTACH_FILTER).
func attachFilter(fd int, first, last uint16) error {
	if last == 0 {
		last = 65535
	}
	if first > last {
		return fmt.Errorf("ports %d to %d run backwards", first, last)
	}
	raw, err := bpf.Assemble(rawFilter(first, last))
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	program := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: unsafe.SliceData(program)}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

// rawFilter is the filter. It sees the packet from its IP header on.
func rawFilter(first, last uint16) []bpf.Instruction {
	port := portFilter(first, last)
	return slices.Concat(
		[]bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtType}, // packet(7), sll_pkttype: below are those for this host, for all and for some
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: unix.PACKET_OTHERHOST, SkipTrue: 1},
			ignored(),
			bpf.LoadExtension{Num: bpf.ExtProto},
		},
		when(unix.ETH_P_IP, filter4(port)),
		when(unix.ETH_P_IPV6, filter6(port)),
		[]bpf.Instruction{ignored()},
	)
}

// portFilter passes the ports from first to last.
func portFilter(first, last uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(first), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(last), SkipTrue: 1},
		heard(),
		ignored(),
	}
}

// filter4 passes TCP by its destination port, and the errors of ICMP (RFC 792: destination unreachable, time exceeded, parameter
// problem). A fragment that is not the first has neither.
func filter4(port []bpf.Instruction) []bpf.Instruction {
	return slices.Concat(
		[]bpf.Instruction{
			bpf.LoadAbsolute{Off: 6, Size: 2}, // flags and fragment offset (RFC 791 section 3.1)
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x1fff, SkipTrue: 1},
			ignored(),
			bpf.LoadMemShift{Off: 0},          // X is the length of the header
			bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
		},
		when(unix.IPPROTO_TCP, append([]bpf.Instruction{bpf.LoadIndirect{Off: 2, Size: 2}}, port...)),
		when(unix.IPPROTO_ICMP, append([]bpf.Instruction{bpf.LoadIndirect{Off: 0, Size: 1}}, oneOf(3, 11, 12)...)),
		[]bpf.Instruction{ignored()},
	)
}

// filter6 passes TCP by its destination port, the errors of ICMPv6 (RFC 4443: destination unreachable, packet too big, time exceeded,
// parameter problem), and whatever is behind extension headers (RFC 8200 section 4, RFC 4302): one too many does no harm.
func filter6(port []bpf.Instruction) []bpf.Instruction {
	const header = 40
	return slices.Concat(
		[]bpf.Instruction{bpf.LoadAbsolute{Off: 6, Size: 1}}, // next header
		when(unix.IPPROTO_TCP, append([]bpf.Instruction{bpf.LoadAbsolute{Off: header + 2, Size: 2}}, port...)),
		when(unix.IPPROTO_ICMPV6, append([]bpf.Instruction{bpf.LoadAbsolute{Off: header, Size: 1}}, oneOf(1, 2, 3, 4)...)),
		oneOf(unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_DSTOPTS, unix.IPPROTO_AH),
	)
}

// oneOf passes what has one of the values in the accumulator.
func oneOf(values ...uint32) (program []bpf.Instruction) {
	for _, v := range values {
		program = append(program, when(v, []bpf.Instruction{heard()})...)
	}
	return append(program, ignored())
}

// when runs a program, which decides, if the accumulator is v; else what follows goes on.
func when(v uint32, program []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: uint8(len(program))}}, program...)
}

// The two ends of a program: how much of the packet is heard.
func heard() bpf.Instruction   { return bpf.RetConstant{Val: RawSnap} }
func ignored() bpf.Instruction { return bpf.RetConstant{Val: 0} }
