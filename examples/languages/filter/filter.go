package main

import "rule/tidegate"

type Settings struct {
	Limit float64 `json:"limit"`
}

// Keeps readings whose temperature is above `limit`.
func keep(message *tidegate.Message, settings *Settings) (bool, error) {
	temperature, err := message.Number("temperature")
	return temperature > settings.Limit, err
}

func init() { tidegate.Filter(keep) }
func main() {}
