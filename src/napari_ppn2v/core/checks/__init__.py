"""Whether data are fit for denoising without clean data: one module for each question.

Nothing here needs torch, and every module follows one pattern: functions that measure,
which name the definition and the source of what they measure, and one function
`..._findings` that judges the figures and says what to do. Which thresholds and why:
docs/explanation/data-check.md.
"""
