"""How many will ride tomorrow: a linear model on the last 1, 7, 28 and 56 days.

Run:    python examples/lag_features.py
Time:   10 seconds on 2 CPU cores; the first time it fetches up to 50 MB
Expect: error on the last 730 days, in thousand riders: 6.62 from one day, 3.07 from 7 (the riders
        have a weekly cycle), 2.48 from 28, 2.38 from 56; least squares gives the same
"""

from jaxml.course.chapter_01.riders import lag_features

found = lag_features("full")
numbers = found.numbers
print(f"same day last week: {numbers['same_day_last_week']:.2f}")
rows = zip(numbers["days"], numbers["error"], numbers["least_squares"], strict=True)
for days, error, least_squares in rows:
    print(f"{days:2} days: {error:.2f}, least squares {least_squares:.2f}")
