package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"sonde/internal/sock"
)

// Datagrams talks over a connected UDP socket: each line of the input, its line feed
// included, is one datagram, or with One the whole input is. At the end of the input it
// listens until the peer was silent for Wait.
//
// A refusal ends the conversation when it comes after the end of the input; until then the
// datagram that a refusal of an earlier one kept from being sent is sent again, and only the
// last thing heard decides. A datagram of zero bytes is a message like any other.
//
// A Read of in must end when in is closed.
func (c Conversation) Datagrams(ctx context.Context, conn *net.UDPConn, in io.ReadCloser, out Printer) Summary {
	d := &datagrams{
		session:  session{Conversation: c, conn: conn, in: in, out: out, start: time.Now()},
		trouble:  trouble{conn: conn},
		refusals: make(chan Refusal),
		moved:    make(chan struct{}, 1),
		over:     make(chan struct{}),
	}
	d.summary.unit = "datagram"
	if d.Wait == 0 {
		d.Wait = time.Second
	}
	sender, receiver := spawn(d.send), spawn(d.receive)
	d.follow(ctx, sender, receiver)
	close(d.over)
	return d.finish(sender, receiver)
}

// datagrams is a session over UDP.
type datagrams struct {
	session
	trouble  trouble
	refusals chan Refusal  // from both halves to the one that follows
	moved    chan struct{} // something was sent: the time to wait for its reply begins
	over     chan struct{} // closed when nobody takes refusals any more

	// These belong to the goroutine that follows.
	refusal   Refusal
	refusedAt time.Duration // when the last refusal came; zero: never
	told      bool          // of the refusal
	silentFor time.Duration // the sending whose silence was told
}

// follow watches both directions until the conversation is over.
func (d *datagrams) follow(ctx context.Context, sender, receiver <-chan outcome) {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		timer.Reset(d.check())
		if d.ended {
			return
		}
		select {
		case <-ctx.Done():
			d.endInterrupted(ctx)
		case o := <-sender:
			sender = nil
			d.inputOver(o)
		case o := <-receiver:
			receiver = nil
			d.peerOver(o)
		case r := <-d.refusals:
			d.refused(r)
		case <-d.moved:
		case <-timer.C:
		}
	}
}

// refused takes note of a refusal, which is the last word once the input is at its end.
func (d *datagrams) refused(r Refusal) {
	d.refusal, d.refusedAt = r, d.now()
	d.summary.Refusals++
	d.told = false
	if d.inputEnded != 0 {
		d.endRefused()
	}
}

func (d *datagrams) endRefused() {
	if d.refusal.PortUnreachable() {
		d.end(sock.Reset, nil, d.refusal.String())
		return
	}
	d.end(sock.Failed, errors.New(d.refusal.String()), d.refusal.String())
}

// isRefused reports whether a refusal is the last thing heard.
func (d *datagrams) isRefused() bool {
	return d.refusedAt != 0 && d.refusedAt > d.heard.when()
}

func (d *datagrams) inputOver(o outcome) {
	var input *inputError
	var long *TooLongError
	switch {
	case o.panicked != nil:
		d.endPanicked(o.panicked)
	case errors.As(o.err, &input), errors.As(o.err, &long):
		d.end(sock.Failed, o.err, "we closed: "+o.err.Error())
	case o.err != nil:
		d.endBroken(o.err)
	default:
		d.inputEnded = d.now()
		if d.isRefused() && d.refusedAt > d.sent.when() {
			d.endRefused()
		}
	}
}

func (d *datagrams) peerOver(o outcome) {
	output := asOutput(o.err)
	switch {
	case o.panicked != nil:
		d.endPanicked(o.panicked)
	case output != nil:
		d.endOutput(output)
	default:
		d.endBroken(o.err)
	}
}

func (d *datagrams) endBroken(err error) {
	ending := sock.EndingOf(err)
	switch {
	case ending == sock.Limit:
		d.end(ending, err, "a limit of this machine: "+err.Error())
	case errors.Is(err, syscall.EPERM):
		d.end(sock.Failed, err, ownFirewall(d.trouble.to()))
	default:
		d.end(sock.Failed, err, err.Error())
	}
}

// check ends the conversation if its time is up, and returns how long until it must be
// asked again.
func (d *datagrams) check() time.Duration {
	switch {
	case d.ended:
		return forever
	case d.inputEnded != 0:
		return d.checkSilence()
	case d.isRefused() && !d.told:
		return d.checkRefused()
	case d.Interactive:
		return d.checkReply()
	}
	return forever
}

// checkSilence waits for the last replies.
func (d *datagrams) checkSilence() time.Duration {
	silent := d.silence(d.inputEnded)
	if d.sent.when() != 0 && !d.Interactive && silent < d.Wait {
		return d.Wait - silent
	}
	switch {
	case d.isRefused():
		d.endRefused()
	case d.sent.when() == 0:
		d.end(sock.ByUs, nil, "we closed: the input was empty, and no datagram was sent")
	case d.Interactive || d.Wait < 0:
		d.end(sock.ByUs, nil, d.weClosed())
	case d.heard.when() == 0:
		d.end(sock.TimedOut, nil, silenceMeans(d.Wait))
	default:
		d.end(sock.ByUs, nil, fmt.Sprintf("%s, then %v of silence", d.weClosed(), d.Wait))
	}
	return forever
}

func silenceMeans(wait time.Duration) string {
	return fmt.Sprintf("no reply within %v: over UDP silence means nothing: lost, dropped, or a server that does not answer", wait)
}

// checkRefused tells of a refusal while the input goes on: a person at once, a pipe
// when it stays open, because its end would tell the same.
func (d *datagrams) checkRefused() time.Duration {
	if age := d.now() - d.refusedAt; !d.Interactive && age < refusedTime {
		return refusedTime - age
	}
	d.told = true
	d.note(d.refusal.String())
	return 0
}

// checkReply tells a person of a datagram that got no reply.
func (d *datagrams) checkReply() time.Duration {
	sent := d.sent.when()
	if sent == d.silentFor || d.heard.when() >= sent || d.refusedAt >= sent {
		return forever
	}
	if age := d.now() - sent; age < silentTime {
		return silentTime - age
	}
	d.silentFor = sent
	d.note(silenceMeans(silentTime))
	return forever
}

// send sends the input datagram by datagram.
func (d *datagrams) send() error {
	local := d.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	cut := newCutter(d.in, MaxPayload(local), d.CRLF)
	if d.One {
		data, err := cut.all()
		if err != nil {
			return err
		}
		return d.write(data)
	}
	for {
		line, err := cut.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.write(line); err != nil {
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
		refusal, ok := d.trouble.explain(err)
		if !ok || try == tries {
			return err
		}
		d.tell(refusal)
	}
	d.sent.Bytes += int64(len(data))
	d.sent.Messages++
	if len(data) == 0 {
		d.sent.Empty++
	}
	select {
	case d.moved <- struct{}{}:
	default:
	}
	return nil
}

// tell hands a refusal to the goroutine that follows.
func (d *datagrams) tell(r Refusal) {
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
		} else if refusal, ok := d.trouble.explain(err); ok {
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
	d.heard.Bytes += int64(len(data))
	d.heard.Messages++
	if len(data) == 0 {
		d.heard.Empty++
	}
	if truncated {
		d.heard.Truncated++
	}
	return d.print(data, truncated)
}
