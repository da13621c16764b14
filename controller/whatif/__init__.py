"""The same deciding code on other data: replay, simulation, forecast, and their charts."""
