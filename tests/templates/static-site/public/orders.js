// Says how many headings there are.
document.addEventListener("DOMContentLoaded", () => {
  const headings = document.querySelectorAll("h1");
  console.log(headings.length);
});
