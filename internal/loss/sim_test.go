package loss_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sonde/internal/loss"
)

// runs is how many scans TestCoverage plays at each point of its grid. docs/completeness.md has what came of 2,000.
var runs = flag.Int("loss.runs", 30, "scans at each point of the grid")

// A trial is a network whose loss is known, host by host.
type trial struct {
	hosts        int
	open, closed int       // of each host
	lost         []float64 // by host i: lost[i % len(lost)]
	passes       int       // at the most
	recall       float64   // if not 0, passes go on until it is reached
}

func (tr trial) String() string {
	return fmt.Sprintf("%d hosts, %d open, %d closed, loss %v, %d passes, recall %v", tr.hosts, tr.open, tr.closed, tr.lost, tr.passes, tr.recall)
}

// network is the state of a trial: what has not been heard yet, and what has.
type network struct {
	trial
	chance       *rand.Rand
	open, closed []int
	paths        []loss.Path
	pass         int
}

// play runs one scan by the rule of the scanner and returns what is told of it, and what it missed of the hosts that answered.
func (tr trial) play(chance *rand.Rand) (e loss.Estimate, missed int) {
	n := network{trial: tr, chance: chance, paths: make([]loss.Path, tr.hosts)}
	n.open, n.closed = slices.Repeat([]int{tr.open}, tr.hosts), slices.Repeat([]int{tr.closed}, tr.hosts)
	for i := range n.paths {
		n.paths[i] = loss.Path{Heard: make([]uint64, tr.passes), Silent: 1 << 20}
	}
	heard := n.next()
	for n.pass < tr.passes {
		if tr.recall == 0 && n.pass >= 2 && heard == 0 {
			break // a third pass only if the second heard anything
		}
		if tr.recall != 0 && loss.Of(n.pass, slices.Values(n.answering())).Recall() >= tr.recall {
			break
		}
		heard = n.next()
	}
	for i, p := range n.paths {
		if answers(p) > 0 {
			missed += n.open[i]
		}
	}
	return loss.Of(n.pass, slices.Values(n.answering())), missed
}

// next plays one pass and returns how many answers it heard.
func (n *network) next() (heard int) {
	for i := range n.paths {
		p := n.lost[i%len(n.lost)]
		open, closed := binomial(n.chance, n.open[i], p), binomial(n.chance, n.closed[i], p)
		now := n.open[i] - open + n.closed[i] - closed
		n.paths[i].Heard[n.pass] = uint64(now)
		n.paths[i].Open += uint64(n.open[i] - open)
		n.open[i], n.closed[i] = open, closed
		heard += now
	}
	n.pass++
	return heard
}

func (n *network) answering() []loss.Path {
	return slices.DeleteFunc(slices.Clone(n.paths), func(p loss.Path) bool { return answers(p) == 0 })
}

func answers(p loss.Path) (sum uint64) {
	for _, n := range p.Heard {
		sum += n
	}
	return sum
}

// binomial draws how many of n happen, each with chance p. Above a variance of 400 it takes the normal law.
func binomial(chance *rand.Rand, n int, p float64) (happened int) {
	if n == 0 || p == 0 {
		return 0
	}
	if variance := float64(n) * p * (1 - p); variance > 400 {
		return min(max(int(math.Round(float64(n)*p+math.Sqrt(variance)*chance.NormFloat64())), 0), n)
	}
	for i := 0; ; happened++ { // skip to the next that happens
		if i += int(math.Log(1-chance.Float64())/math.Log1p(-p)) + 1; i > n {
			return happened
		}
	}
}

// A network's size: hosts, and what each answers with.
type size struct{ hosts, open, closed int }

var (
	sizes = []size{
		{1, 6, 0}, {1, 6, 20}, {1, 30, 0}, {1, 100, 0}, {1, 1000, 0}, {1, 6, 1000}, {1, 1000, 1000}, {1, 6, 65000}, {1, 1000, 64000},
		{20, 6, 0}, {20, 2, 10}, {20, 2, 100}, {200, 3, 0}, {200, 6, 0}, {200, 6, 30}, {200, 6, 1000}, {200, 30, 0}, {1000, 2, 3},
	}
	alike = [][]float64{{0}, {.01}, {.05}, {.0975}, {.19}, {.3}}
	mixed = [][]float64{{0, .3}, {.01, .19}, {0, .05, .0975, .19, .3}, {0, 0, 0, 0, 0, 0, 0, 0, 0, .3}, {0, 0, 0, 0, 0, 0, 0, 0, 0, .19}}
)

// grid is every trial of TestCoverage.
func grid() (all []trial) {
	for _, s := range sizes {
		for _, lost := range slices.Concat(alike, mixed) {
			if s.hosts < len(lost) {
				continue
			}
			for passes := 2; passes <= 4; passes++ {
				all = append(all, trial{hosts: s.hosts, open: s.open, closed: s.closed, lost: lost, passes: passes})
			}
			all = append(all, trial{hosts: s.hosts, open: s.open, closed: s.closed, lost: lost, passes: 40, recall: .999})
		}
	}
	return all
}

// scarce reports whether a trial's hosts answer little and differ much: those that lose are few or far apart, and
// what they have to say is said on the first pass or never. The bound is short there now and then.
func (tr trial) scarce() bool { return tr.open+tr.closed < 30 && len(tr.lost) > 2 }

// TestCoverage plays scans over networks of known loss, and counts in how many no more was missed than the bound said.
func TestCoverage(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic that the race detector makes ten times as slow, and nothing in it is concurrent")
	}
	t.Parallel()
	for i, tr := range grid() {
		chance := rand.New(rand.NewPCG(uint64(i), 1))
		known, held := 0, 0
		var expected, missed, bounds []float64
		for range max(*runs/(1+tr.hosts/50), 15) {
			e, m := tr.play(chance)
			if !e.Known {
				continue
			}
			known++
			if float64(m) <= e.Missed95 {
				held++
			}
			expected, missed, bounds = append(expected, e.Missed), append(missed, float64(m)), append(bounds, e.Missed95)
		}
		want := .95
		if tr.scarce() {
			want = .9
		}
		if tolerance := 2 * math.Sqrt(want*(1-want)/float64(known)); float64(held) < (want-tolerance)*float64(known) {
			t.Errorf("%v: the bound held in %d of %d", tr, held, known)
		}
		if slices.Sort(bounds); known > 0 {
			t.Logf("%v: held %.3f of %d, missed %.3g, expected %.3g, bound %.3g", tr, float64(held)/float64(known), known, mean(missed), mean(expected), bounds[known/2])
		}
	}
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}
