// Package sock is where sonde meets the operating system's sockets: non-blocking
// connects on an event loop, datagrams with the address they were sent to, the
// error queue, whole IP packets, and the limits of this process.
//
// It is, with pace and route, the only package with system calls and build tags. What a
// system cannot do is refused with an error that names the system.
package sock
