package listen

import (
	"context"
	"slices"
	"time"

	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

// datagrams receives from all sockets.
func (r *run) datagrams(ctx context.Context, conns []Conn) error {
	in := intake{run: r, conns: conns, drops: make([]uint32, len(conns))}
	readers := make([]serve.PacketReader, len(conns))
	for i, c := range conns {
		readers[i] = c
	}
	err := serve.Receiver{Handle: in.handle, Trouble: in.trouble}.Receive(ctx, readers...)
	in.look(time.Now())
	in.tellMissed(in.missed.Rest())
	in.tellLost(in.lost.Rest())
	return err
}

// An intake is the datagrams of a run. One goroutine at a time uses it.
type intake struct {
	*run
	conns  []Conn
	drops  []uint32  // of the kernel, when it was last asked
	next   time.Time // when it is to be asked; zero while nothing comes
	missed serve.Tally
	last   error // of those missed
	lost   serve.Tally
}

// lookEvery is how often the kernel is asked for its drops, at most. There are some only where something comes.
const lookEvery = time.Second

// handle hands ds to the Sink and returns when there will be something to tell.
func (in *intake) handle(place int, ds []sock.Datagram) time.Time {
	now := time.Now()
	if place != serve.NoPlace && in.next.IsZero() {
		in.next = now.Add(lookEvery)
	}
	for _, d := range in.permitted(ds) {
		if in.message(Message{Proto: probe.UDP, Peer: d.Peer, Local: d.Local, Time: now, Truncated: d.Truncated, Data: d.Data}) != nil {
			break
		}
	}
	if !in.next.IsZero() && !now.Before(in.next) {
		in.look(now)
	}
	in.tellMissed(in.missed.Due(now))
	in.tellLost(in.lost.Due(now))
	return earliest(in.next, in.missed.Wake(), in.lost.Wake())
}

// permitted counts ds and returns those whose sender may talk to us, in ds' own memory.
func (in *intake) permitted(ds []sock.Datagram) []sock.Datagram {
	came := len(ds)
	ds = slices.DeleteFunc(ds, func(d sock.Datagram) bool { return !in.Access.Permits(d.Peer.Addr()) })
	if in.UDP != nil {
		in.UDP.In.Add(uint64(came))
		in.UDP.Denied.Add(uint64(came - len(ds)))
	}
	return ds
}

func (in *intake) trouble(err error) {
	in.last = err
	in.tellMissed(in.missed.Add(time.Now(), 1))
}

// look asks the kernel what it has dropped.
func (in *intake) look(now time.Time) {
	in.next = time.Time{}
	for i, c := range in.conns {
		u, ok := c.(interface{ Drops() (uint32, error) })
		if !ok {
			continue
		}
		if drops, err := u.Drops(); err == nil && drops != in.drops[i] {
			n := drops - in.drops[i] // right when the count has begun anew, too
			in.drops[i] = drops
			in.tellLost(in.lost.Add(now, int(n)))
		}
	}
}

func (in *intake) tellMissed(n int) {
	if n > 0 && in.Missed != nil {
		in.Missed(n, in.last)
	}
}

func (in *intake) tellLost(n int) {
	if n > 0 && in.Lost != nil {
		in.Lost(n)
	}
}

// earliest returns the first of some times, the zero time being never.
func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}
