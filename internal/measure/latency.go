package measure

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Distribution is how long things took. Percentiles are right to 0.1 %; least, most and mean are exact.
type Distribution struct {
	h        *hdrhistogram.Histogram
	sum      float64
	min, max time.Duration
}

// longestLatency is what a histogram holds at most, in nanoseconds; what takes longer counts as that long in percentiles.
const longestLatency = int64(time.Hour)

// NewDistribution returns an empty one.
func NewDistribution() *Distribution {
	return &Distribution{h: hdrhistogram.New(1, longestLatency, 3)}
}

// Record takes one time in. It does not allocate.
func (d *Distribution) Record(t time.Duration) {
	t = max(t, 0)
	if d.h.TotalCount() == 0 || t < d.min {
		d.min = t
	}
	d.max = max(d.max, t)
	d.sum += float64(t)
	_ = d.h.RecordValue(min(int64(t), longestLatency)) // it is in range
}

// Merge takes in all that another holds.
func (d *Distribution) Merge(o *Distribution) {
	if o.N() == 0 {
		return
	}
	if d.N() == 0 || o.min < d.min {
		d.min = o.min
	}
	d.max = max(d.max, o.max)
	d.sum += o.sum
	d.h.Merge(o.h)
}

// N is how many there are.
func (d *Distribution) N() uint64 { return uint64(d.h.TotalCount()) }

// Min is the least, 0 if there is none.
func (d *Distribution) Min() time.Duration { return d.min }

// Max is the most.
func (d *Distribution) Max() time.Duration { return d.max }

// Mean is the arithmetic mean.
func (d *Distribution) Mean() time.Duration {
	if d.N() == 0 {
		return 0
	}
	return time.Duration(d.sum / float64(d.N()))
}

// Percentile returns the time that p percent did not exceed, p from 0 to 100.
func (d *Distribution) Percentile(p float64) time.Duration {
	if d.N() == 0 {
		return 0
	}
	t := time.Duration(d.h.ValueAtPercentile(p))
	return min(max(t, d.min), d.max) // the histogram's steps may lie outside of what was
}

// A Bucket is how many times lay between two, From included.
type Bucket struct {
	From, To time.Duration
	N        uint64
}

// Buckets parts the distribution at 1, 2 and 5 times the powers of ten, from the first that holds anything to the last.
func (d *Distribution) Buckets() (all []Bucket) {
	if d.N() == 0 {
		return nil
	}
	edges := edgesAround(d.min, d.max)
	for i := range edges[1:] {
		all = append(all, Bucket{From: edges[i], To: edges[i+1]})
	}
	i := 0
	for _, bar := range d.h.Distribution() {
		mid := min(max(time.Duration(bar.From+(bar.To-bar.From)/2), d.min), d.max)
		for i < len(all)-1 && mid >= all[i].To {
			i++
		}
		all[i].N += uint64(bar.Count)
	}
	return all
}

// edgesAround returns the 1-2-5 steps from the last at or below low to the first above high.
func edgesAround(low, high time.Duration) []time.Duration {
	edges := []time.Duration{0}
	for power := int64(1); power < math.MaxInt64/10; power *= 10 {
		for _, k := range []int64{1, 2, 5} {
			edge := time.Duration(k * power)
			if edge <= low {
				edges = edges[:0]
			}
			edges = append(edges, edge)
			if edge > high {
				return edges
			}
		}
	}
	return edges
}

// A recorder takes the times of some connections.
type recorder struct {
	mu               sync.Mutex
	latency, service *Distribution
}

func newRecorder() *recorder {
	return &recorder{latency: NewDistribution(), service: NewDistribution()}
}

func (r *recorder) record(latency, service time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency.Record(latency)
	r.service.Record(service)
}
