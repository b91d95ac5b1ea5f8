package peering

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"github.com/mission-authority/mas/federation"
)

// httpClient makes the client for one peer.
func (c *Client) httpClient(p *federation.Peer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            c.dialer(p.AllowPrivate).DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			ResponseHeaderTimeout:  totalTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        metadataAge,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       totalTimeout,
	}
}

// dialer checks the address that is about to be connected to, after every name was resolved: a name cannot lead it
// elsewhere between check and use.
func (c *Client) dialer(allowPrivate bool) *net.Dialer {
	return &net.Dialer{
		Timeout: connectTimeout,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil || network != "tcp4" && network != "tcp6" {
				return errAddress
			}
			if !dialable(addr.Addr(), allowPrivate, c.loopback) {
				return errAddress
			}
			return nil
		},
	}
}

var errAddress = errors.New("peering: address not allowed")

// special are ranges that are not private but that nobody reaches on the public network.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared address space
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarking
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // translation: hides an IPv4 address
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
}

// dialable reports whether an address may be connected to: a global unicast one always, a private one if the peer
// record allows it, a loopback one if the deployment does. Link-local and multicast addresses never.
func dialable(a netip.Addr, private, loopback bool) bool {
	a = a.Unmap()
	switch {
	case a.IsLoopback():
		return loopback
	case a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.IsInterfaceLocalMulticast(), a.Zone() != "":
		return false
	case a.IsPrivate():
		return private
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast()
}

// isLoopback reports whether a host is a loopback address. Names are not: whoever answers for them decides.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
