package cli

// The objects that ping -o json writes, one a line. A field keeps its name and its meaning.

type jsonPingStart struct {
	Type        string   `json:"type"` // start
	Version     string   `json:"version"`
	Args        []string `json:"args,omitempty"`
	Host        string   `json:"host"`
	Addr        string   `json:"addr"`
	Protocol    string   `json:"protocol"` // tcp, udp, tls
	Connect     bool     `json:"connect_only,omitempty"`
	Size        int      `json:"size,omitempty"`
	Connections int      `json:"connections,omitempty"`
	Rate        *float64 `json:"rate_per_s,omitempty"` // absent: a closed loop, or a search
	Window      int      `json:"window,omitempty"`
	Timeout     float64  `json:"timeout_ms"`
	Resolve     *float64 `json:"resolve_ms,omitempty"`
	Condition   string   `json:"condition,omitempty"`
}

type jsonPingConn struct {
	Type    string   `json:"type"` // connection
	Conn    int      `json:"conn"`
	State   string   `json:"state"` // open, failed, broken, refused, damaged
	Local   string   `json:"local,omitempty"`
	Remote  string   `json:"remote,omitempty"`
	Connect *float64 `json:"connect_ms,omitempty"`
	TLS     *float64 `json:"tls_ms,omitempty"`
	Lost    uint64   `json:"lost,omitempty"`
	jsonPingEnd
}

// A jsonPingEnd says why: in a word for programs, and in words for people.
type jsonPingEnd struct {
	Ending string `json:"ending,omitempty"` // fin, reset, timeout, refused, unreachable, tls, no-echo, interrupted, limit, error
	Error  string `json:"error,omitempty"`
	Got    string `json:"got_hex,omitempty"` // with no-echo: what came
}

type jsonPingReply struct {
	Type      string          `json:"type"` // reply
	Conn      int             `json:"conn"`
	Seq       uint64          `json:"seq"`
	Fate      string          `json:"fate"` // answered, late, lost, corrupt, unsent; doubled is beside
	Latency   *float64        `json:"latency_ms,omitempty"`
	Service   *float64        `json:"service_ms,omitempty"`
	Reordered bool            `json:"reordered,omitempty"`
	Damage    *jsonPingDamage `json:"damage,omitempty"`
	Reason    string          `json:"reason,omitempty"` // of lost and unsent: timeout, fin, reset, refused, unreachable, down, held, limit, error
	Error     string          `json:"error,omitempty"`
}

type jsonPingDamage struct {
	Kind   string `json:"kind"` // changed, truncated
	Offset int    `json:"offset"`
	Stream uint64 `json:"stream_offset,omitempty"`
	Want   string `json:"want_hex,omitempty"`
	Got    string `json:"got_hex,omitempty"`
}

type jsonPingCounts struct {
	Probes    uint64  `json:"probes"`
	Answered  uint64  `json:"answered"`
	Late      uint64  `json:"late"`
	Lost      uint64  `json:"lost"`
	Corrupt   uint64  `json:"corrupt"`
	Unsent    uint64  `json:"unsent"`
	Pending   uint64  `json:"pending"`
	Doubled   uint64  `json:"doubled"`
	Reordered uint64  `json:"reordered"`
	Foreign   uint64  `json:"foreign"`
	Truncated uint64  `json:"truncated"`
	Refused   uint64  `json:"refused"`
	Broken    uint64  `json:"broken"`
	Closed    int     `json:"closed_connections"`
	Down      int     `json:"down_connections"`
	Loss      float64 `json:"loss"`         // lost / sent
	Failed    float64 `json:"failed_share"` // all that is not back whole and in time / due
}

type jsonPingSpread struct {
	N    uint64  `json:"n"`
	Min  float64 `json:"min_ms"`
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p99_9_ms"`
	Max  float64 `json:"max_ms"`
}

type jsonPingSummary struct {
	Type string `json:"type"` // summary
	jsonPingCounts
	Latency     *jsonPingSpread `json:"latency,omitempty"` // absent in a closed loop
	Service     *jsonPingSpread `json:"service,omitempty"`
	Connect     *jsonPingSpread `json:"connect,omitempty"`
	TLS         *jsonPingSpread `json:"tls,omitempty"`
	FirstByte   *jsonPingSpread `json:"first_byte,omitempty"`
	Jitter      *float64        `json:"jitter_ms,omitempty"`
	Elapsed     float64         `json:"elapsed_s"`
	Asked       float64         `json:"asked_per_s,omitempty"`
	Sent        float64         `json:"sent_per_s"`
	Bytes       uint64          `json:"bytes_verified"`
	Stalled     float64         `json:"stalled_ms,omitempty"`
	Held        float64         `json:"held_ms,omitempty"`
	Dropped     uint64          `json:"dropped_here,omitempty"`
	Histogram   []jsonPingBar   `json:"histogram,omitempty"`
	Interrupted bool            `json:"interrupted,omitempty"`
	jsonPingEnd
}

type jsonPingBar struct {
	From float64 `json:"from_ms"`
	To   float64 `json:"to_ms"`
	N    uint64  `json:"n"`
}

type jsonPingStep struct {
	Type    string   `json:"type"` // step
	Rate    float64  `json:"rate_per_s"`
	Sent    float64  `json:"sent_per_s"`
	Kept    bool     `json:"kept"`
	Limited bool     `json:"limited_here,omitempty"`
	Again   bool     `json:"again,omitempty"`
	Value   *float64 `json:"value_ms,omitempty"` // of what the condition looks at; absent: endless, or it is the loss
	Probes  uint64   `json:"probes"`
	Loss    float64  `json:"loss"`
	Failed  float64  `json:"failed_share"`
}

type jsonPingFound struct {
	Type        string  `json:"type"` // found
	Condition   string  `json:"condition"`
	Rate        float64 `json:"rate_per_s"` // 0: none
	NotKept     float64 `json:"not_kept_per_s,omitempty"`
	Limited     bool    `json:"limited_here"`
	Steps       int     `json:"steps"`
	Interrupted bool    `json:"interrupted,omitempty"`
	jsonPingEnd
}
