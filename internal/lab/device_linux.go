package lab

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An end is what one end of a link is beside its addresses.
type end struct {
	Name  string
	GRO   bool
	Whole bool // its checksums are made before a packet leaves, and not left to a card that a veth does not have
	Wire  Wire
}

// prepare makes a device what it shall be. It has to be up: the peer of a veth that comes up with GRO on does not learn that
// it may redirect frames to it (veth_set_features of drivers/net/veth.c, Linux 6.18).
func (m *machine) prepare(e *end) (err error) {
	if e.GRO {
		if err := ethtool(e.Name, unix.ETHTOOL_SGRO, 1); err != nil {
			return fmt.Errorf("switch GRO of %s on: %w", e.Name, err)
		}
	}
	if e.Whole {
		if err := ethtool(e.Name, unix.ETHTOOL_STXCSUM, 0); err != nil {
			return fmt.Errorf("switch checksum offload of %s off: %w", e.Name, err)
		}
	}
	if e.Wire != Kernel {
		m.program, err = attach(e)
	}
	return err
}

// An ethtoolValue is linux/ethtool.h's struct ethtool_value.
type ethtoolValue struct{ cmd, data uint32 }

// An ifreq is linux/if.h's struct ifreq where it has a pointer.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolValue
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool sets one value of a device (SIOCETHTOOL, netdevice(7)).
func ethtool(name string, cmd, value uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := ifreq{data: &ethtoolValue{cmd, value}}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(request.data)
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

func index(name string) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return device.Index, nil
}
