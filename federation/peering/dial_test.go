package peering

import (
	"net/netip"
	"testing"
)

// TestDialable: which addresses a name may resolve to.
func TestDialable(t *testing.T) {
	for _, c := range []struct {
		addr                        string
		public, private, loopbackOK bool // dialable with nothing allowed, with private allowed, with loopback allowed
	}{
		{"93.184.216.34", true, true, true},
		{"2606:2800:220:1::1", true, true, true},
		{"127.0.0.1", false, false, true},
		{"127.9.9.9", false, false, true},
		{"::1", false, false, true},
		{"::ffff:127.0.0.1", false, false, true},
		{"10.1.2.3", false, true, false},
		{"192.168.1.1", false, true, false},
		{"172.16.0.1", false, true, false},
		{"fd00::1", false, true, false},
		{"::ffff:10.0.0.1", false, true, false},
		{"169.254.169.254", false, false, false},
		{"fe80::1", false, false, false},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"0.1.2.3", false, false, false},
		{"100.64.0.1", false, false, false},
		{"192.0.0.8", false, false, false},
		{"198.18.0.1", false, false, false},
		{"224.0.0.1", false, false, false},
		{"ff02::1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"240.0.0.1", false, false, false},
		{"64:ff9b::7f00:1", false, false, false},
		{"2002:7f00:1::", false, false, false},
	} {
		a := netip.MustParseAddr(c.addr)
		for _, try := range []struct{ private, loopback, want bool }{
			{false, false, c.public}, {true, false, c.private}, {false, true, c.loopbackOK},
		} {
			if got := dialable(a, try.private, try.loopback); got != try.want {
				t.Errorf("dialable(%s, private %v, loopback %v) = %v", c.addr, try.private, try.loopback, got)
			}
		}
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "::1": true, "localhost": false, "10.0.0.1": false, "": false} {
		if isLoopback(host) != want {
			t.Errorf("isLoopback(%q) = %v", host, !want)
		}
	}
}
