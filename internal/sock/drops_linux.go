package sock

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Drops returns how many datagrams the kernel has thrown away so far that came for the socket, nearly always because nobody had
// read those before (SO_MEMINFO, net/core/sock.c; a wrong checksum counts too). The count begins anew after 2^32.
func Drops(c syscall.Conn) (drops uint32, err error) {
	const place, places = 8, 9 // linux/sock_diag.h, SK_MEMINFO_DROPS and SK_MEMINFO_VARS
	err = onFD(c, func(fd int) error {
		var info [places]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return os.NewSyscallError("getsockopt SO_MEMINFO", errno)
		}
		drops = info[place]
		return nil
	})
	return drops, err
}
