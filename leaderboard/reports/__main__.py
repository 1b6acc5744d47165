"""Write the generated parts of the documents of a checkout: python -m pebench.leaderboard.reports"""

from pebench.leaderboard.reports.documents import write

if __name__ == "__main__":
    for file in write():
        print(file)
