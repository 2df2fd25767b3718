document.querySelector("#greeting").textContent = "hello";

if (import.meta.hot) import.meta.hot.accept();
