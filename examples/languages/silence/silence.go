package main

import (
	"fmt"
	"time"

	"rule/tidegate"
	"rule/tidegate/state"
	"rule/tidegate/timer"
)

type Settings struct {
	After tidegate.Duration `json:"after"`
}

type Device struct {
	HeardUs  uint64
	IsSilent bool
}

type Alarm struct {
	Device string `json:"device"`
	State  string `json:"state"`
}

var devices = state.Of[Device]()

func alarm(out *tidegate.Out, device, state string) error {
	topic := fmt.Sprintf("alarms/%s/silence", device)
	return out.Send(tidegate.Draft{Port: "alarms", Topic: topic, Key: device, JSON: Alarm{device, state}})
}

// An alarm when a device falls silent, and its end when it is back.
func process(message *tidegate.Message, out *tidegate.Out, _ *Settings) error {
	device := devices.At(message.Key)
	wasSilent := device.IsSilent
	*device = Device{HeardUs: message.RunningUs}
	out.Pass()
	if wasSilent {
		return alarm(out, message.Key, "back")
	}
	return nil
}

func every(settings *Settings) time.Duration { return time.Duration(settings.After) / 6 }

func tick(out *tidegate.Out, settings *Settings) error {
	nowUs, afterUs := tidegate.Host.RunningUs(), uint64(time.Duration(settings.After).Microseconds())
	for _, key := range devices.Keys() {
		device := devices.Get(key)
		if device.IsSilent || nowUs-device.HeardUs < afterUs {
			continue
		}
		devices.At(key).IsSilent = true
		if err := alarm(out, key, "silent"); err != nil {
			return err
		}
	}
	return nil
}

func init() {
	tidegate.Ports("alarms")
	tidegate.Transform(process)
	timer.Every(every, tick)
}

func main() {}
