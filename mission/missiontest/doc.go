// Package missiontest builds values for tests: a valid Intent, entries, a sealed Record and its Standing, keys. Every
// builder takes edits that are applied before the value is sealed. Imported by tests only.
package missiontest
