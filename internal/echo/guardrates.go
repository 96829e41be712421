package echo

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// rates are what networks may still be answered. All loops of a server share them, since a network's peers are spread over its
// sockets; they are in shards, so that loops seldom meet. A network has a bucket in the set that its hash names; when all of a set are in use,
// by a flood from forged networks, say, it shares one with all others in its place: such a flood is then one flood.
type rates struct {
	rate   float64 // datagrams a second and network, and the burst
	seed   maphash.Seed
	epoch  time.Time
	shards [rateShards]rateShard

	mu     sync.Mutex // guards others
	others bucket
}

type rateShard struct {
	mu      sync.Mutex
	buckets []bucket // nil until there is one
}

const (
	maxNets     = 16384
	rateShards  = 16
	netWays     = 8                              // buckets of a set
	netSets     = maxNets / rateShards / netWays // of a shard
	forgetAfter = int64(time.Second)             // a bucket is full again by then
)

// A bucket holds the datagrams that a network may still be answered.
type bucket struct {
	net  uint64
	left float64
	last int64 // when it was last taken from; 0: it is nobody's
}

func newRates(rate int) *rates {
	if rate <= 0 {
		rate = DefaultRatePerNet
	}
	return &rates{rate: float64(rate), seed: maphash.MakeSeed(), epoch: newEpoch()}
}

// spend takes a datagram from the rate of a's network: a token bucket of one second's rate.
func (r *rates) spend(a netip.Addr, now time.Time) bool {
	t, net := int64(now.Sub(r.epoch)), network(a)
	hash := maphash.Comparable(r.seed, net)
	shard := &r.shards[hash%rateShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if b := shard.bucket(net, hash/rateShards%netSets*netWays, t); b != nil {
		return b.spend(r.rate, t)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.others.spend(r.rate, t)
}

// bucket returns the network's own, nil if its set is full.
func (s *rateShard) bucket(net, first uint64, now int64) *bucket {
	if s.buckets == nil {
		s.buckets = make([]bucket, netSets*netWays)
	}
	set := s.buckets[first : first+netWays]
	var free *bucket
	for i := range set {
		b := &set[i]
		if b.last != 0 && b.net == net {
			return b
		}
		if now-b.last >= forgetAfter {
			free = b
		}
	}
	if free != nil {
		*free = bucket{net: net}
	}
	return free
}

func (b *bucket) spend(rate float64, now int64) bool {
	if b.last == 0 {
		b.left, b.last = rate, now
	}
	if now > b.last { // another loop's clock may be a little ahead
		b.left = min(rate, b.left+rate*time.Duration(now-b.last).Seconds())
		b.last = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
