// Package state keeps a value by key that survives swaps, faults and restarts.
package state

import (
	"container/list"
	"encoding/json"
	"fmt"

	"rule/tidegate"
)

const (
	pageBytes = 64 << 10
	gone      = 0xffffffff
)

// State is a value by key, saved as JSON: what At has handed out is written with the next checkpoint.
type State[T any] struct {
	// Most keys; beyond, the one that was quiet for longest is forgotten. 20,000 unless set.
	Most int
	// Upgrade reads a value that another version has saved.
	Upgrade func(version uint32, saved []byte) (T, error)

	values          map[string]*list.Element
	order           list.List
	changed, saving map[string]struct{}
	page            []string
}

type entry[T any] struct {
	key   string
	value T
}

var kept interface {
	save(changedOnly bool, cursor uint64) (next uint64, more bool, words []uint32, data []byte)
	restore(version uint32, words []uint32, data []byte) error
}

// Of is the plugin's state; there is one of it.
func Of[T any]() *State[T] {
	s := &State[T]{Most: 20_000, values: map[string]*list.Element{}, changed: map[string]struct{}{}, saving: map[string]struct{}{}}
	kept = s
	return s
}

// Get is the key's value, to look at; nil when there is none.
func (s *State[T]) Get(key string) *T {
	if found := s.values[key]; found != nil {
		return &found.Value.(*entry[T]).value
	}
	return nil
}

// At is the key's value, zero where it is new; it counts as changed.
func (s *State[T]) At(key string) *T {
	s.changed[key] = struct{}{}
	found := s.values[key]
	if found == nil {
		found = s.order.PushBack(&entry[T]{key: key})
		s.values[key] = found
		for len(s.values) > s.Most {
			s.Delete(s.order.Front().Value.(*entry[T]).key)
			tidegate.Host.Counter("keys_forgotten", 1)
		}
	} else {
		s.order.MoveToBack(found)
	}
	return &found.Value.(*entry[T]).value
}

// Delete forgets a key.
func (s *State[T]) Delete(key string) {
	if found := s.values[key]; found != nil {
		s.order.Remove(found)
		delete(s.values, key)
		s.changed[key] = struct{}{}
	}
}

// Keys are all keys, the one that was quiet for longest first.
func (s *State[T]) Keys() []string {
	keys := make([]string, 0, len(s.values))
	for at := s.order.Front(); at != nil; at = at.Next() {
		keys = append(keys, at.Value.(*entry[T]).key)
	}
	return keys
}

func (s *State[T]) save(changedOnly bool, cursor uint64) (next uint64, more bool, words []uint32, data []byte) {
	if cursor == 0 {
		// What a save that was given up had taken is still to be saved.
		for key := range s.saving {
			s.changed[key] = struct{}{}
		}
		s.saving, s.changed = s.changed, map[string]struct{}{}
		s.page = s.Keys()
		if changedOnly {
			s.page = s.page[:0]
			for key := range s.saving {
				s.page = append(s.page, key)
			}
		}
	}
	at := int(cursor)
	for ; at < len(s.page) && len(data) < pageBytes; at++ {
		key := s.page[at]
		value := s.Get(key)
		if value == nil {
			words = append(words, uint32(len(key)), gone)
			data = append(data, key...)
			continue
		}
		saved, err := json.Marshal(value)
		if err != nil {
			tidegate.Host.Error(fmt.Sprintf("state of `%s` is not saved: %v", key, err))
			continue
		}
		words = append(words, uint32(len(key)), uint32(len(saved)))
		data = append(append(data, key...), saved...)
	}
	if more = at < len(s.page); !more {
		clear(s.saving)
	}
	return uint64(at), more, words, data
}

func (s *State[T]) restore(version uint32, words []uint32, data []byte) error {
	if version != tidegate.StateVersion && s.Upgrade == nil {
		return fmt.Errorf("state of version %d cannot be read by version %d", version, tidegate.StateVersion)
	}
	for i := 0; i+1 < len(words); i += 2 {
		key, length := string(data[:words[i]]), words[i+1]
		data = data[words[i]:]
		if length == gone {
			s.Delete(key)
			delete(s.changed, key)
			continue
		}
		value, saved := s.At(key), data[:length]
		delete(s.changed, key)
		var err error
		if version == tidegate.StateVersion {
			err = json.Unmarshal(saved, value)
		} else {
			*value, err = s.Upgrade(version, saved)
		}
		if err != nil {
			return fmt.Errorf("state of `%s`: %w", key, err)
		}
		data = data[length:]
	}
	return nil
}
