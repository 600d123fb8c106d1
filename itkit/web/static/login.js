// Exchange the password for the cookie.
const form = document.getElementById("login"), wrong = document.getElementById("wrong");

form.addEventListener("submit", async event => {
  event.preventDefault();
  wrong.textContent = "";
  const reply = await fetch("/login", {
    method: "POST",
    headers: { "content-type": "application/json", "x-itkit": "1" },
    body: JSON.stringify({ password: document.getElementById("password").value }),
  });
  if (reply.ok) location.replace("/");
  else wrong.textContent = (await reply.json()).detail;
});
