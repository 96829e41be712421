// Udploop is the echo server over UDP that one writes in an evening: one goroutine, two system calls for each datagram.
//
//	udploop        prints "listening udp 127.0.0.1:PORT"
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "udploop:", err)
		os.Exit(1)
	}
}

func run() error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	if err := c.SetReadBuffer(1 << 20); err != nil { // what 64 clients may have on their way
		return err
	}
	fmt.Println("listening udp", c.LocalAddr())
	buffer := make([]byte, 65536)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return err
		}
		if _, err := c.WriteToUDPAddrPort(buffer[:n], from); err != nil {
			return err
		}
	}
}
