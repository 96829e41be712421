// Iocopy is the echo server over TCP that one writes in an evening: a goroutine for each connection, in which io.Copy
// moves what comes within the kernel (splice(2)), by a pipe.
//
//	iocopy        prints "listening tcp 127.0.0.1:PORT"
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "iocopy:", err)
		os.Exit(1)
	}
	fmt.Println("listening tcp", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "iocopy:", err)
			os.Exit(1)
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}
