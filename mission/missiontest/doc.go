// Package missiontest builds values for tests: a valid intent, entries, an active record. Imported by tests only.
package missiontest
