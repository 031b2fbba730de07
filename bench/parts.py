"""Hand-written parts of the texts: every head goes with every middle and every tail of its list."""

from collections.abc import Mapping

Columns = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

MESSAGES: Mapping[str, Columns] = {
    "billing": (
        (
            "The March invoice", "My last credit note", "Our yearly bill", "This month's direct debit",
            "Tuesday's receipt", "Your second reminder", "A charge on my card", "Some payment of 49 euros",
            "That promised refund", "Our prorated fee", "Last week's bank transfer", "Every renewal since May",
        ),
        (
            "for the team plan", "for two extra seats", "for the storage upgrade", "for our Lisbon office",
            "from the trial month", "for the cancelled add-on", "under contract 5521", "for my second workspace",
        ),
        (
            "is higher than we agreed.", "shows up twice on the statement.", "still has not reached our bank.",
            "uses the wrong currency again.", "was booked on the wrong day.", "carries our old company address.",
            "lacks the tax number we sent.", "does not match your written quote.",
        ),
    ),
    "bug report": (
        (
            "Scrolling", "Dragging a file", "Printing", "The undo button", "Any keyboard shortcut", "Pasting a table",
            "Dark mode", "Saving a draft", "Sorting by date", "The calendar widget", "Uploading photos", "Live preview",
        ),
        (
            "in the Android app", "on my old laptop", "inside the report view", "after yesterday's update",
            "with two screens attached", "in Firefox 140", "on the shared board", "within long documents",
        ),
        (
            "crashes the whole window.", "freezes for a full minute.", "throws error code 500.",
            "loses the last three lines.", "does nothing at all now.", "shows an empty grey box.",
            "jumps back to the first page.", "makes the fan spin and hangs.",
        ),
    ),
    "feature request": (
        (
            "An offline mode", "A weekly digest", "Two-way calendar sync", "Custom colours", "A bulk rename tool",
            "Voice notes", "Per-project roles", "An export to Excel", "Saved searches", "Markdown support",
            "A quiet-hours switch", "Nested folders",
        ),
        (
            "for the mobile app", "in the admin area", "for large teams", "next to the task list", "in the free plan",
            "for shared boards", "on the start page", "inside comments",
        ),
        (
            "would save us hours each week.", "is what I miss most.", "would be a great addition.",
            "should come before anything else.", "could replace three other tools.", "is at the top of our wish list.",
            "would make my boss very happy.", "might convince the rest of us.",
        ),
    ),
    "account access": (
        (
            "My password", "The reset link", "Our single sign-on", "A new colleague's invitation", "The six-digit code",
            "My backup key", "Her admin login", "Every sign-in attempt", "The confirmation mail", "Our owner account",
            "His guest profile", "The fingerprint login",
        ),
        (
            "for the customer portal", "since we changed domains", "on the new phone", "after three wrong tries",
            "from abroad", "for the Berlin workspace", "behind our company proxy", "since this morning",
        ),
        (
            "is rejected as invalid.", "expires before I can use it.", "never arrives in my inbox.",
            "leads to a locked page.", "says the user is unknown.", "keeps sending me in circles.",
            "no longer lets anyone in.", "asks for a number I lost.",
        ),
    ),
    "praise": (
        (
            "Your support team", "The new dashboard", "Whoever wrote the guide", "That quick fix", "The latest release",
            "Your onboarding call", "The redesigned editor", "Sofia from support", "The import wizard",
            "Your status page", "The training video", "This little app",
        ),
        (
            "for our charity", "during the move last week", "in the middle of the night", "with all its small touches",
            "on launch day", "despite my odd questions", "over the holidays", "for the whole department",
        ),
        (
            "made my day, thank you.", "was simply wonderful.", "deserves a huge compliment.", "worked like a charm.",
            "is the best I have seen.", "saved us, many thanks indeed.", "left everybody smiling.",
            "could not have been any better.",
        ),
    ),
    "something else": (
        (
            "Somebody at your office", "The address in Vienna", "A journalist", "One of your partners",
            "The summer conference", "Our school class", "Your press kit", "The job advert", "A parcel",
            "The podcast interview", "Your annual report", "My thesis",
        ),
        (
            "near the main station", "about remote work", "with the green logo", "from two years ago",
            "on renewable energy", "for the local paper", "mentioned by a friend", "in the second building",
        ),
        (
            "is why I am writing today.", "raises a question, whom may I call?", "needs a contact person from you.",
            "was left at our reception.", "might interest your colleagues too.", "is missing from the web page.",
            "could use a short quote.", "starts at nine, is parking free?",
        ),
    ),
}  # fmt: skip
"""By subject: heads, middles and tails of short messages."""

CUSTOMERS = (
    "Maria Lopez", "Tom Becker", "Aisha Khan", "Jonas Lind", "Priya Nair", "Chen Wei", "Olga Petrova", "Sam Okafor",
)  # fmt: skip
MAILS = (
    "{who} here. The toaster arrived broken on 3 March. I paid 39.90 euros for it.",
    "Where is my desk lamp? It cost 64 euros, you promised it for 12 May. Regards, {who}",
    "Please cancel the garden chair for 120 euros, which I ordered on 8 June. {who}",
    "My name is {who}. The headphones that you sold me for 89.50 euros stopped working yesterday.",
    "On 21 January I ordered a rain jacket. It is too small. Thanks, {who}",
    "Hi, {who} again. You charged 249 euros twice for the office chair, on 2 July.",
    "Send me an invoice please: one kettle, 29.95 euros, bought on 17 April by {who}.",
    "The bicycle pump is great, worth every cent of the 18 euros. {who}, 30 August",
)

PEOPLE = ("Ines", "Marek", "Yusuf", "Hanna", "Diego", "Wen", "Leila", "Oskar", "Ruth", "Tariq", "Nora", "Emil")
TEAMS = (
    "the search team", "logistics", "the Porto office", "customer care", "the platform group", "accounting",
    "the field engineers", "marketing", "the night shift", "the lab", "purchasing", "the data desk",
)  # fmt: skip
TOPICS = (
    "the cold-storage contract", "the new booking form", "the bridge inspection", "the spring campaign",
    "the sensor calibration", "the supplier audit", "the travel policy", "the warehouse move",
    "the annual survey", "the backup generator", "the pricing page", "the training budget",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
SENTENCES = (
    "{who} reported that {team} had finished the first half of {topic} and needed {n} more days for the rest.",
    "The cost of {topic} rose to {n} thousand euros, which {team} explained with late deliveries.",
    "On {day} {who} met {team} to go through {topic}, and {n} open points were left at the end.",
    "Nobody could say why {topic} had been delayed by {n} days, so {who} will ask {team} for the log.",
    "For {topic} two offers arrived; {team} prefers the cheaper one, although it takes {n} weeks longer.",
    "{who} warned that without a decision by {day} {team} would have to stop work on {topic}.",
    "According to {team}, {n} of the customers that were asked had never heard of {topic}.",
    "It was agreed that {who} takes over {topic} from {team} and writes a plan of at most {n} pages.",
    "After {n} hours of tests {team} found no fault in {topic}, but {who} wants a second look on {day}.",
    "The measurements for {topic} differ by {n} percent from last year's, and {team} is checking the devices.",
    "{who} thanked {team} for the quick help with {topic}, which had cost the department {n} evenings.",
    "Because of the holiday on {day}, {team} moves the review of {topic} by {n} days.",
)
