package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// A shard is --shard i/n: part i, counted from 1, of n parts that are together the whole. The zero value is the whole.
type shard struct{ i, n uint64 }

func (s *shard) String() string {
	if s.n == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.i, s.n)
}

func (s *shard) Type() string { return "I/N" }

func (s *shard) Set(text string) error {
	left, right, _ := strings.Cut(text, "/")
	i, ierr := strconv.ParseUint(left, 10, 32)
	n, nerr := strconv.ParseUint(right, 10, 32)
	if ierr != nil || nerr != nil || i < 1 || i > n {
		return fmt.Errorf("%q is no shard; write 1/4 for the first of four, up to 4/4", text)
	}
	*s = shard{i, n}
	return nil
}

// of returns the shard's part of a plan.
func (s *shard) of(plan *scan.Plan) scan.Span {
	if s.n == 0 {
		return plan.Whole()
	}
	return plan.Shard(s.i, s.n)
}

// hosts returns the shard's part of the hosts of a space, by rank.
func (s *shard) hosts(space target.Space) scan.Span {
	cut := func(k uint64) uint64 {
		hi, lo := bits.Mul64(space.Hosts(), k)
		q, _ := bits.Div64(hi, lo, s.n)
		return q
	}
	if s.n == 0 {
		return scan.Span{Lo: 0, Hi: space.Hosts()}
	}
	return scan.Span{Lo: cut(s.i - 1), Hi: cut(s.i)}
}

// list prints the targets of the scan in the order in which they would be asked, and sends nothing.
func (s *scanner) list(w io.Writer, found *found) error {
	out := bufio.NewWriter(w)
	for _, space := range []target.Space{found.local, found.public} {
		if space.Len() == 0 {
			continue
		}
		plan := s.order(space)
		for part, place := s.shard.of(&plan), uint64(0); place < part.Hi-part.Lo; place++ {
			t := plan.At(part.Lo + place)
			if _, err := fmt.Fprintf(out, "%v/%v\n", t.AddrPort, t.Proto); err != nil {
				return quietly(err)
			}
		}
	}
	return quietly(out.Flush())
}

// quietly takes it for no error that a reader has had enough.
func quietly(err error) error {
	if errors.Is(err, sock.ErrBrokenPipe) {
		return nil
	}
	return err
}
