package telemetry

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Other is the label value under which everything is counted that the label did not declare.
const Other = "other"

// A Label is a dimension of a metric with all the values it can take. Other is always among them.
type Label struct {
	Name   string
	Values []string
}

// A Registry holds metrics in the order of their creation. Create metrics before serving them; everything else is safe
// for concurrent use.
type Registry struct {
	mu      sync.Mutex
	metrics []metric
}

// metric is one family in the text format.
type metric interface {
	name() string
	write(w *bufio.Writer)
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return new(Registry) }

func (r *Registry) add(m metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.metrics, func(o metric) bool { return o.name() == m.name() }) {
		panic("telemetry: metric " + m.name() + " registered twice")
	}
	r.metrics = append(r.metrics, m)
}

// ContentType is the media type of WriteText's output.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// WriteText writes every metric in the Prometheus text exposition format 0.0.4.
func (r *Registry) WriteText(w io.Writer) error {
	r.mu.Lock()
	metrics := slices.Clone(r.metrics)
	r.mu.Unlock()
	buf := bufio.NewWriter(w)
	for _, m := range metrics {
		m.write(buf)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}

// family is what counters and histograms share: a name and the product of their label values, in row-major order.
type family struct {
	title  string
	help   string
	labels []Label
	series int
}

func newFamily(title, help string, labels []Label) family {
	f := family{title: title, help: help, series: 1}
	for _, l := range labels {
		values := slices.Clone(l.Values)
		if !slices.Contains(values, Other) {
			values = append(values, Other)
		}
		f.labels = append(f.labels, Label{Name: l.Name, Values: values})
		f.series *= len(values)
	}
	return f
}

func (f *family) name() string { return f.title }

// at returns the ordinal of a series.
func (f *family) at(values []string) int {
	if len(values) != len(f.labels) {
		panic("telemetry: metric " + f.title + " used with the wrong number of labels")
	}
	n := 0
	for i, l := range f.labels {
		k := slices.Index(l.Values, values[i])
		if k < 0 {
			k = slices.Index(l.Values, Other)
		}
		n = n*len(l.Values) + k
	}
	return n
}

// selector renders the labels of series n, with extra ones appended, as `{a="x",b="y"}`.
func (f *family) selector(n int, extra ...string) string {
	pairs := make([]string, len(f.labels), len(f.labels)+len(extra))
	for i := len(f.labels) - 1; i >= 0; i-- {
		l := f.labels[i]
		pairs[i] = l.Name + "=" + strconv.Quote(l.Values[n%len(l.Values)])
		n /= len(l.Values)
	}
	pairs = append(pairs, extra...)
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func (f *family) header(w *bufio.Writer, kind string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.title, f.help, f.title, kind)
}

// A Counter counts events. Series that never counted anything are not written.
type Counter struct {
	family
	counts []atomic.Uint64
}

// Counter creates a counter; by convention its name ends in _total.
func (r *Registry) Counter(name, help string, labels ...Label) *Counter {
	c := &Counter{family: newFamily(name, help, labels)}
	c.counts = make([]atomic.Uint64, c.series)
	r.add(c)
	return c
}

// Add counts n events under the label values, one for each label in its order.
func (c *Counter) Add(n uint64, values ...string) { c.counts[c.at(values)].Add(n) }

// Value returns the count under the label values.
func (c *Counter) Value(values ...string) uint64 { return c.counts[c.at(values)].Load() }

func (c *Counter) write(w *bufio.Writer) {
	c.header(w, "counter")
	for i := range c.counts {
		if n := c.counts[i].Load(); n > 0 || len(c.labels) == 0 {
			fmt.Fprintf(w, "%s%s %d\n", c.title, c.selector(i), n)
		}
	}
}

// gauge reads its value when it is written.
type gauge struct {
	family
	read func() float64
}

// Gauge creates a gauge that calls read at every scrape; read must be quick and safe for concurrent use.
func (r *Registry) Gauge(name, help string, read func() float64) {
	r.add(&gauge{family: newFamily(name, help, nil), read: read})
}

func (g *gauge) write(w *bufio.Writer) {
	g.header(w, "gauge")
	fmt.Fprintf(w, "%s %s\n", g.title, number(g.read()))
}

// A Histogram counts observations in buckets.
type Histogram struct {
	family
	bounds []float64       // upper bounds, ascending
	counts []atomic.Uint64 // per series: one for each bound and one above all
	sums   []atomic.Uint64 // per series: float64 bits
}

// Histogram creates a histogram with the given upper bounds, ascending.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...Label) *Histogram {
	if !slices.IsSorted(bounds) || len(bounds) == 0 {
		panic("telemetry: histogram " + name + " needs ascending bounds")
	}
	h := &Histogram{family: newFamily(name, help, labels), bounds: bounds}
	h.counts = make([]atomic.Uint64, h.series*(len(bounds)+1))
	h.sums = make([]atomic.Uint64, h.series)
	r.add(h)
	return h
}

// Observe counts v under the label values.
func (h *Histogram) Observe(v float64, values ...string) {
	n := h.at(values)
	bucket, _ := slices.BinarySearch(h.bounds, v)
	h.counts[n*(len(h.bounds)+1)+bucket].Add(1)
	for sum := &h.sums[n]; ; {
		old := sum.Load()
		if sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (h *Histogram) write(w *bufio.Writer) {
	h.header(w, "histogram")
	width := len(h.bounds) + 1
	for i := range h.series {
		var cumulative uint64
		buckets := make([]uint64, width)
		for k := range width {
			cumulative += h.counts[i*width+k].Load()
			buckets[k] = cumulative
		}
		if cumulative == 0 {
			continue
		}
		for k, bound := range h.bounds {
			fmt.Fprintf(w, "%s_bucket%s %d\n", h.title, h.selector(i, `le="`+number(bound)+`"`), buckets[k])
		}
		fmt.Fprintf(w, "%s_bucket%s %d\n", h.title, h.selector(i, `le="+Inf"`), cumulative)
		sum := math.Float64frombits(h.sums[i].Load())
		fmt.Fprintf(w, "%s_sum%s %s\n", h.title, h.selector(i), number(sum))
		fmt.Fprintf(w, "%s_count%s %d\n", h.title, h.selector(i), cumulative)
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
