package sequencer

// Remember makes a Log opened with c remember n writes of each kind in each generation.
func Remember(c *Config, n int) { c.remembered = n }
