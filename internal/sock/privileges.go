package sock

import "slices"

// A Capability is one of the privileges that Linux grants apart from the others (capabilities(7)).
type Capability uint8

// The capabilities that sonde can use (linux/capability.h).
const (
	CapNetAdmin    Capability = 12 // XDP programs may be loaded and attached
	CapNetRaw      Capability = 13 // raw and packet sockets
	CapSysResource Capability = 24 // hard limits may be raised
	CapPerfmon     Capability = 38 // BPF programs may do arithmetic with pointers
	CapBPF         Capability = 39 // bpf(2); since Linux 5.8
)

// capSysAdmin includes CapPerfmon and CapBPF.
const capSysAdmin Capability = 21

var capabilityNames = map[Capability]string{
	CapNetAdmin: "CAP_NET_ADMIN", CapNetRaw: "CAP_NET_RAW", CapSysResource: "CAP_SYS_RESOURCE", CapPerfmon: "CAP_PERFMON", CapBPF: "CAP_BPF",
}

// String returns the capability's name in capitals.
func (c Capability) String() string { return capabilityNames[c] }

// A CapabilitySet is a bit for each Capability.
type CapabilitySet uint64

func (s CapabilitySet) has(c Capability) bool { return s>>c&1 != 0 }

// Lacking returns those of the wanted that are not in the set.
func (s CapabilitySet) Lacking(wanted ...Capability) []Capability {
	return slices.DeleteFunc(slices.Clone(wanted), s.has)
}

// Privileges is what this process may do that not everybody may, and what is in the way of more.
type Privileges struct {
	Effective CapabilitySet // it has these now
	Bounding  CapabilitySet // no program that it starts gets others, whatever the program's file says
	// NoNew: no program that it starts gets any that it does not have itself (prctl(2), PR_SET_NO_NEW_PRIVS).
	NoNew bool
	// InUserNamespace: they count for what belongs to a user namespace (user_namespaces(7)); the machine's own is not meant.
	InUserNamespace bool
	// Filtered: a seccomp filter decides on its system calls.
	Filtered bool
}
