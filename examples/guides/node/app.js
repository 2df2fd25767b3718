export const greet = (visits) => `hello, visit ${visits}\n`;
