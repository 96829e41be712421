package sock

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// initialUserNamespace is what the machine's own user namespace is called everywhere (PROC_USER_INIT_INO in the kernel).
const initialUserNamespace = "user:[4026531837]"

// ReadPrivileges returns those of the calling thread; all threads have the same unless somebody sees to it that they do not.
func ReadPrivileges() (Privileges, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return Privileges{}, fmt.Errorf("read the capabilities: %w", err)
	}
	p := Privileges{Effective: CapabilitySet(data[0].Effective) | CapabilitySet(data[1].Effective)<<32}
	if p.Effective.has(capSysAdmin) {
		p.Effective |= 1<<CapPerfmon | 1<<CapBPF
	}
	for c := range capabilityNames {
		if control(unix.PR_CAPBSET_READ, uintptr(c)) == 1 {
			p.Bounding |= 1 << c
		}
	}
	const filterMode = 2 // SECCOMP_MODE_FILTER
	p.NoNew = control(unix.PR_GET_NO_NEW_PRIVS, 0) == 1
	p.Filtered = control(unix.PR_GET_SECCOMP, 0) == filterMode
	ns, err := os.Readlink("/proc/self/ns/user") // without /proc, or user namespaces, it is taken to be the machine's
	p.InUserNamespace = err == nil && ns != initialUserNamespace
	return p, nil
}

// control asks prctl(2); what the kernel does not know is 0.
func control(option int, argument uintptr) int {
	value, err := unix.PrctlRetInt(option, argument, 0, 0, 0)
	if err != nil {
		return 0
	}
	return value
}

// KernelRelease returns the release of the kernel: 6.12.1.
func KernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil { // it fails for a bad pointer only
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
