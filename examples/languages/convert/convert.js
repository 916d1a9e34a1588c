import { define } from "./tidegate.js";

// A reading in JSON and °C becomes a line of text in °F.
export const { transform } = define({
  process(message, out) {
    const fahrenheit = message.number("temperature") * 1.8 + 32;
    out.emit(`${message.key};${fahrenheit.toFixed(1)};${message.number("humidity").toFixed(1)}`);
  },
});
