package ledgertest

import "hash/maphash"

// tree is an ordered map from string to octets of which every version stays readable: a treap whose updates copy the
// path they change. A version is changed only by the edit that made it; nodes the edit made itself are changed in
// place.
type tree struct {
	root *node
	mine *edit
}

// edit identifies who may change a node.
type edit struct{ _ byte }

type node struct {
	key         string
	value       []byte
	priority    uint64
	left, right *node
	made        *edit
}

var seed = maphash.MakeSeed()

// edit returns a new version that may be changed without changing t.
func (t *tree) edit() *tree {
	next := &tree{mine: new(edit)}
	if t != nil {
		next.root = t.root
	}
	return next
}

func (t *tree) get(key string) ([]byte, bool) {
	if t == nil {
		return nil, false
	}
	for n := t.root; n != nil; {
		switch {
		case key < n.key:
			n = n.left
		case key > n.key:
			n = n.right
		default:
			return n.value, true
		}
	}
	return nil, false
}

func (t *tree) put(key string, value []byte) {
	t.root = t.insert(t.root, key, value)
}

func (t *tree) insert(n *node, key string, value []byte) *node {
	if n == nil {
		return &node{key: key, value: value, priority: maphash.String(seed, key), made: t.mine}
	}
	n = t.own(n)
	switch {
	case key < n.key:
		n.left = t.insert(n.left, key, value)
		if n.left.priority > n.priority {
			l := n.left
			n.left, l.right = l.right, n
			return l
		}
	case key > n.key:
		n.right = t.insert(n.right, key, value)
		if n.right.priority > n.priority {
			r := n.right
			n.right, r.left = r.left, n
			return r
		}
	default:
		n.value = value
	}
	return n
}

func (t *tree) remove(key string) {
	t.root = t.cut(t.root, key)
}

func (t *tree) cut(n *node, key string) *node {
	if n == nil {
		return nil
	}
	n = t.own(n)
	switch {
	case key < n.key:
		n.left = t.cut(n.left, key)
	case key > n.key:
		n.right = t.cut(n.right, key)
	default:
		return t.join(n.left, n.right)
	}
	return n
}

// join merges two trees of which all keys of l are smaller.
func (t *tree) join(l, r *node) *node {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.priority > r.priority:
		l = t.own(l)
		l.right = t.join(l.right, r)
		return l
	default:
		r = t.own(r)
		r.left = t.join(l, r.left)
		return r
	}
}

// own returns n if this edit made it, else a copy that this edit may change.
func (t *tree) own(n *node) *node {
	if n.made == t.mine {
		return n
	}
	c := *n
	c.made = t.mine
	return &c
}

// walk calls yield for the keys >= from in order, until it returns false.
func (t *tree) walk(from string, yield func(key string, value []byte) bool) {
	if t == nil {
		return
	}
	var stack []*node
	for n := t.root; n != nil; {
		if n.key >= from {
			stack = append(stack, n)
			n = n.left
		} else {
			n = n.right
		}
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !yield(n.key, n.value) {
			return
		}
		for n = n.right; n != nil; n = n.left {
			stack = append(stack, n)
		}
	}
}
