package authority

// PeerID is the id of a peer in statement subjects, <issuer>/peers/<id>: see peerID.
func PeerID(issuer string) string { return peerID(issuer) }
