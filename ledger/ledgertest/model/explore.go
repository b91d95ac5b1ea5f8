package model

// An Exploration is what was found within bounds.
type Exploration struct {
	States, Actions, Deepest int
	Broken                   string   // the first promise that was found broken; empty if none was
	Trace                    []string // the shortest way to it

	bounds *Bounds
	from   map[State]came
	order  []State
}

// came says how a state was reached first.
type came struct {
	from   State
	action string
	depth  int
}

// Explore visits every state within b, breadth first, and stops at the first broken promise.
func Explore(b Bounds) *Exploration {
	x := &Exploration{bounds: &b, from: map[State]came{Start(): {}}, order: []State{Start()}}
	for i := 0; i < len(x.order); i++ {
		s := x.order[i]
		depth := x.from[s].depth
		for _, step := range b.Steps(s) {
			x.Actions++
			if _, seen := x.from[step.To]; seen {
				continue
			}
			x.from[step.To] = came{s, step.Action, depth + 1}
			x.order = append(x.order, step.To)
			x.Deepest = max(x.Deepest, depth+1)
			if step.To.Broken != "" {
				x.Broken = step.To.Broken
				_, x.Trace = x.Way(step.To)
				x.States = len(x.order)
				return x
			}
		}
	}
	x.States = len(x.order)
	return x
}

// Way returns the shortest way to a state that was visited: the states after each action, and the actions.
func (x *Exploration) Way(to State) (states []State, actions []string) {
	for to != Start() {
		c := x.from[to]
		states, actions = append([]State{to}, states...), append([]string{c.action}, actions...)
		to = c.from
	}
	return states, actions
}

// Visit calls do with every state that was visited, in the order of its distance.
func (x *Exploration) Visit(do func(State)) {
	for _, s := range x.order {
		do(s)
	}
}
