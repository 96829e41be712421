package talk

import (
	"errors"
	"io"
	"net"
	"os"

	"sonde/internal/dial"
)

// datagram counts one.
func (d *direction) datagram(size int) {
	d.bytes.Add(int64(size))
	d.messages.Add(1)
	if size == 0 {
		d.empty.Add(1)
	}
}

// send sends the input datagram by datagram.
func (d *datagrams) send() error {
	limit := dial.MaxPayload(d.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr())
	if d.Commands != nil {
		t := d.typed()
		return d.sendAll(func() ([]byte, error) { return t.datagram(limit) })
	}
	cut := newCutter(d.in, limit, d.CRLF)
	if d.One {
		data, err := cut.all()
		if err != nil {
			return err
		}
		return d.write(data)
	}
	return d.sendAll(cut.next)
}

// sendAll sends what next returns until io.EOF.
func (d *datagrams) sendAll(next func() ([]byte, error)) error {
	for {
		data, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.write(data); err != nil {
			return err
		}
	}
}

// write sends one datagram. A write that returns the refusal of an earlier datagram
// did not send its own (udp(7)), and is done again.
func (d *datagrams) write(data []byte) error {
	const tries = 16 // each needs a refusal of its own, and only what was sent is refused
	for try := 1; ; try++ {
		d.sent.mark(d.now())
		_, err := d.conn.Write(data)
		if err == nil {
			break
		}
		refusal, ok := d.trouble.Explain(err)
		if !ok || try == tries {
			return err
		}
		d.tell(refusal)
	}
	d.sent.datagram(len(data))
	select {
	case d.moved <- struct{}{}:
	default:
	}
	return nil
}

// tell hands a refusal to the goroutine that follows.
func (d *datagrams) tell(r dial.Refusal) {
	select {
	case d.refusals <- r:
	case <-d.over:
	}
}

// receive prints every datagram that comes. It returns only with an error.
func (d *datagrams) receive() error {
	size := d.bufferSize
	if size == 0 {
		size = 1 << 16
	}
	buf := make([]byte, size)
	for {
		n, err := d.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = d.flush()
		} else if refusal, ok := d.trouble.Explain(err); ok {
			d.tell(refusal)
			continue
		} else if err == nil {
			err = d.received(buf[:n], n == size)
		}
		if err != nil {
			return err
		}
	}
}

func (d *datagrams) received(data []byte, truncated bool) error {
	d.heard.datagram(len(data))
	if truncated {
		d.heard.truncated.Add(1)
	}
	return d.print(data, truncated)
}
