import { filter, number } from "./tidegate.js";

// Keeps readings whose temperature is above `limit`.
export const { transform } = filter({
  settings: { limit: number },
  keep: (message, { limit }) => message.number("temperature") > limit,
});
